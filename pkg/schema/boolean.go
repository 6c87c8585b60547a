package schema

import "strings"

// ParseBool reads a boolean as command lines and configuration files write them:
// 1, on, yes, true and 0, off, no, false in any case.
func ParseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "1", "on", "yes", "true":
		return true, true
	case "0", "off", "no", "false":
		return false, true
	}
	return false, false
}

// FormatBool writes a boolean as configuration files hold it.
func FormatBool(value bool) string {
	if value {
		return "1"
	}
	return "0"
}
