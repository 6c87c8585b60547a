package schema

import (
	"errors"
	"strconv"
	"strings"
)

// CheckStored checks text as configuration files are read: its type and its format,
// but not its bounds, pattern and enumeration, so that what an older or newer program
// wrote survives. It returns the text as it is kept.
func (s *Schema) CheckStored(text string) (string, error) {
	if strings.ContainsAny(text, "\r\n") {
		return "", errors.New("property contains a line feed")
	}
	switch s.Type {
	case "boolean":
		value, ok := ParseBool(text)
		if !ok {
			return "", errors.New("type check ('boolean') failed - got '" + text + "'")
		}
		return FormatBool(value), nil
	case "integer":
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil || text[0] == '+' {
			return "", errors.New("type check ('integer') failed - got '" + text + "'")
		}
		return strconv.FormatUint(n, 10), nil
	case "number":
		whole, fraction, broken := strings.Cut(text, ".")
		if !isDigits(whole) || broken && !isDigits(fraction) {
			return "", errors.New("type check ('number') failed - got '" + text + "'")
		}
		return text, nil
	}
	if s.Keys == nil && s.Format == "" && s.Verify == nil {
		if len(text) > 1 && text[0] == '"' && text[len(text)-1] == '"' {
			text = text[1 : len(text)-1]
		}
		return text, nil
	}
	_, err := s.checkFormat("", text)
	return text, err
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
