package task

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Unexpected is the status of a task that ended without saying how.
const Unexpected = "unexpected status"

// Status tells how it stands with a task.
type Status struct {
	Running bool
	Exit    string // "OK", "WARNINGS: 2" or the error; empty while it runs
}

// Class sorts the ways to end: "ok", "warning", "error", and "unknown" for a task
// that did not say or has not ended.
func Class(exit string) string {
	switch {
	case exit == "OK":
		return "ok"
	case warningsStatus.MatchString(exit):
		return "warning"
	case exit == "" || exit == Unexpected:
		return "unknown"
	}
	return "error"
}

// IsError tells whether a task with that exit has failed. One with warnings has
// not.
func IsError(exit string) bool {
	class := Class(exit)
	return class != "ok" && class != "warning"
}

var (
	warningsStatus = regexp.MustCompile(`^WARNINGS: \d+$`)
	resultLine     = regexp.MustCompile(`^TASK (?:(OK)|(WARNINGS: \d+)|ERROR: (.+))$`)
)

// parseResult reads the exit off a log's last line; false where it is none.
func parseResult(line string) (exit string, ok bool) {
	match := resultLine.FindStringSubmatch(line)
	if match == nil {
		return Unexpected, false
	}
	return match[1] + match[2] + match[3], true
}

// Status tells how it stands with a task of this node.
func (h *Host) Status(t id.Task) (Status, error) {
	if t.Node != h.Node {
		return Status{}, fmt.Errorf("%s: %w", t, ErrNotHere)
	}
	status := h.state(t)
	if _, err := os.Stat(h.LogPath(t)); !status.Running && errors.Is(err, fs.ErrNotExist) {
		return Status{}, fmt.Errorf("no such task: %s", t)
	}
	return status, nil
}

// state looks at the process first and at the log then, for it may end in between. What
// a worker says while it is there is talk, even where it looks like a result; only in
// a process that goes on afterwards the log alone tells.
func (h *Host) state(t id.Task) Status {
	running := alive(t.PID, t.PStart)
	if running && t.PID != os.Getpid() && isWorker(t.PID) {
		return Status{Running: true}
	}
	exit, final := h.logResult(t)
	if running && !final {
		return Status{Running: true}
	}
	return Status{Exit: exit}
}

// logResult reads the exit off the log; final is false where there is none (yet).
func (h *Host) logResult(t id.Task) (exit string, final bool) {
	f, err := os.Open(h.LogPath(t))
	if err != nil {
		return "unable to get last line from task log - " + reason(err), false
	}
	defer f.Close()
	line, err := lastLine(f)
	if err != nil {
		return "unable to get last line from task log - " + reason(err), false
	}
	return parseResult(line)
}

func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

// lastLine returns the last line of a log. One that lacks its end is not done.
func lastLine(f *os.File) (string, error) {
	const most = 64 << 10 // an error text is not longer
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return "", err
	}
	body, ok := strings.CutSuffix(string(text), "\n")
	if !ok {
		return "", nil
	}
	return body[strings.LastIndexByte(body, '\n')+1:], nil
}
