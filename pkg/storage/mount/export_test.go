package mount

import (
	"strings"
	"time"
)

// ParseRecord reads a record and writes it again; empty where it is none.
func ParseRecord(text string) string {
	r := parseRecord(text)
	if r.began.IsZero() {
		return ""
	}
	return strings.Clone(r.String())
}

// SetPatience says how long mounting may take.
func (p *Pool) SetPatience(d time.Duration) { p.patience = d }
