package id

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Task is a UPID: the name of a task, unique in a cluster for all time. It tells
// which process worked where, since when, at what, and for whom.
type Task struct {
	Node      string
	PID       int
	PStart    uint64 // start of the process in clock ticks after boot, against reused ids
	StartTime int64  // seconds since the epoch
	Type      string // kind of work, as qmstart
	ID        string // object of the work, as 100; may be empty
	User      string
}

// ErrNoTask is the error of a text that is no UPID.
var ErrNoTask = errors.New("value does not look like a valid UPID")

// ParseTask reads a UPID.
func ParseTask(s string) (Task, error) {
	bad := fmt.Errorf("unable to parse worker upid '%s': %w", s, ErrNoTask)
	f := strings.Split(s, ":")
	if len(f) != 9 || f[0] != "UPID" || f[8] != "" {
		return Task{}, bad
	}
	pid, okPID := hex(f[2], 8, 8)
	pstart, okStart := hex(f[3], 8, 9) // nine digits after 497 days of uptime
	start, okTime := hex(f[4], 8, 8)
	if !okPID || !okStart || !okTime {
		return Task{}, bad
	}
	t := Task{Node: f[1], PID: int(pid), PStart: pstart, StartTime: int64(start), Type: f[5], ID: f[6], User: f[7]}
	if t.Check() != nil {
		return Task{}, bad
	}
	return t, nil
}

func hex(s string, shortest, longest int) (uint64, bool) {
	if len(s) < shortest || len(s) > longest {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}

// Check tells whether the fields can be written as a UPID and read again.
func (t Task) Check() error {
	switch {
	case !isHostLabel(t.Node):
		return fmt.Errorf("node %q: %w", t.Node, ErrNoTask)
	case t.Type == "" || strings.ContainsFunc(t.Type, breaksTask):
		return fmt.Errorf("task type %q: %w", t.Type, ErrNoTask)
	case strings.ContainsFunc(t.ID, breaksTask):
		return fmt.Errorf("task object %q: %w", t.ID, ErrNoTask)
	case t.User == "" || strings.ContainsFunc(t.User, breaksTask):
		return fmt.Errorf("task user %q: %w", t.User, ErrNoTask)
	case t.PID < 0 || int64(t.PID) > 1<<32-1 || t.StartTime < 0 || t.StartTime > 1<<32-1 || t.PStart > 1<<36-1:
		return fmt.Errorf("task of process %d: %w", t.PID, ErrNoTask)
	}
	return nil
}

// breaksTask tells the characters no field may hold: the separator, blanks, and what would
// let a UPID, which names a log file, lead out of its folder.
func breaksTask(r rune) bool {
	return r == ':' || r == '/' || r <= ' ' || r == 0x7f || r == 0x85 || r == 0xa0
}

// isHostLabel tells whether s is one label of a host name.
func isHostLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}

// String returns the UPID.
func (t Task) String() string {
	return fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", t.Node, t.PID, t.PStart, t.StartTime, t.Type, t.ID, t.User)
}

// Start returns when the task was started.
func (t Task) Start() time.Time { return time.Unix(t.StartTime, 0) }

// MarshalText returns the UPID.
func (t Task) MarshalText() ([]byte, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads a UPID.
func (t *Task) UnmarshalText(text []byte) error {
	read, err := ParseTask(string(text))
	if err != nil {
		return err
	}
	*t = read
	return nil
}
