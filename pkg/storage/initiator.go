package storage

import (
	"os"
	"strings"
)

// InitiatorName returns the name by which the host is known to iSCSI targets, which may
// let in only those that they know. It is empty where the host has none.
func InitiatorName() string {
	// The name is the host's, not ours: it is the same below any root of ours.
	text, err := os.ReadFile("/etc/iscsi/initiatorname.iscsi")
	if err != nil {
		return ""
	}
	return parseInitiator(string(text))
}

func parseInitiator(text string) string {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.TrimSpace(key) == "InitiatorName" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
