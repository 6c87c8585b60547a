package lxc

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A LogLine is one line of LXC's log.
type LogLine struct {
	Level   string // TRACE DEBUG INFO NOTICE WARN ERROR CRIT ALERT FATAL
	Where   string // the part of LXC: start, conf, network, …
	Message string
}

// isLevel tells the words LXC has for how bad it is.
func isLevel(word string) bool {
	switch word {
	case "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "ERROR", "CRIT", "ALERT", "FATAL":
		return true
	}
	return false
}

// Fault tells whether the line says that something failed.
func (l LogLine) Fault() bool {
	switch l.Level {
	case "ERROR", "CRIT", "ALERT", "FATAL":
		return true
	}
	return false
}

func (l LogLine) String() string { return strings.ToLower(l.Level) + ": " + l.Where + ": " + l.Message }

// ParseLogLine reads a line such as
//
//	lxc-start 100 20231123072519.123 ERROR    start - ../src/lxc/start.c:lxc_spawn:1842 - No such file or directory - Failed to ...
//
// ok is false for what LXC did not write, such as the output of a hook.
func ParseLogLine(line string) (l LogLine, ok bool) {
	head, rest, ok := strings.Cut(line, " - ")
	if !ok {
		return l, false
	}
	words := strings.Fields(head)
	// Program, name (none where LXC does not know it yet), time, level, part.
	for i := len(words) - 2; i >= 1; i-- {
		if isLevel(words[i]) && isTime(words[i-1]) {
			l.Level, l.Where = words[i], strings.Join(words[i+1:], " ")
			break
		}
	}
	_, message, ok := strings.Cut(rest, " - ")
	if !ok || l.Level == "" {
		return LogLine{}, false
	}
	l.Message = strings.TrimSpace(message)
	return l, true
}

// isTime knows the form 20231123072519.123.
func isTime(word string) bool {
	_, err := time.Parse("20060102150405.000", word)
	return err == nil
}

// ReadLog reads the log from an offset on, the last 256 KiB of it at most: what LXC wrote since the
// file was that long. A log that is not there is empty.
func ReadLog(path string, from int64) ([]LogLine, error) {
	const most = 256 << 10
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, max(from, st.Size()-most), most))
	if err != nil {
		return nil, err
	}
	var lines []LogLine
	for text := range strings.Lines(string(raw)) {
		if l, ok := ParseLogLine(strings.TrimRight(text, "\n")); ok {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// Faults are the messages that say what failed, the cause first, without those that only say
// that something did.
func Faults(lines []LogLine) []string {
	var all []string
	for _, l := range lines {
		if text := causeLast(l.Message); l.Fault() && !hollow(text) && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// hollow are what every failure ends with.
func hollow(message string) bool {
	for _, start := range []string{
		"The container failed to start", "To get more details, run the container in foreground mode",
		"Additional information can be obtained by setting", "Failed to spawn container", "Received container state \"ABORTING\"",
		"Failed to wait on daemonized", "Failed to receive the container state", "Failed to create lxc_container",
		"An error occurred in another process", "lxc_spawn failed",
	} {
		if strings.HasPrefix(message, start) {
			return true
		}
	}
	return strings.HasPrefix(message, "Failed to initialize container \"")
}

// causeLast turns "No such file or directory - Failed to open x", as LXC has it, around.
func causeLast(message string) string {
	cause, what, ok := strings.Cut(message, " - ")
	if !ok {
		return message
	}
	const last = syscall.Errno(133) // EHWPOISON
	for e := syscall.Errno(1); e <= last; e++ {
		if strings.EqualFold(cause, e.Error()) {
			return what + ": " + e.Error()
		}
	}
	return message
}
