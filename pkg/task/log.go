package task

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Log is the log of a running task. It counts the warnings among its lines, and
// never fails to whoever writes to it: a full disk must not end the work.
type Log struct {
	file *os.File
	also io.Writer // sees the same; may be nil

	mu       sync.Mutex
	line     []byte // the beginning of an unfinished line, as far as it matters
	started  bool   // something has been written since the last line end
	warnings int
}

const warning = "WARN: "

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(p)
	_, _ = l.file.Write(p)
	if l.also != nil {
		_, _ = l.also.Write(p)
	}
	return len(p), nil
}

// count looks for lines that begin as warnings do, however they arrive in parts.
func (l *Log) count(p []byte) {
	for len(p) > 0 {
		rest, end := p, bytes.IndexByte(p, '\n')
		if end >= 0 {
			rest = p[:end]
		}
		if missing := len(warning) - len(l.line); missing > 0 {
			l.line = append(l.line, rest[:min(missing, len(rest))]...)
			if len(l.line) == len(warning) && string(l.line) == warning {
				l.warnings++
			}
		}
		l.started = true
		if end < 0 {
			return
		}
		l.line, l.started = l.line[:0], false
		p = p[end+1:]
	}
}

// Warnf adds a warning.
func (l *Log) Warnf(format string, args ...any) {
	fmt.Fprintf(l, warning+format+"\n", args...)
}

// Warnings returns how many there were.
func (l *Log) Warnings() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warnings
}

// finish writes the result as the last line and returns the exit that it says. It
// is for the log only: who watched has seen the error itself.
func (l *Log) finish(err error) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	exit := "OK"
	result := "TASK OK\n"
	switch {
	case err != nil:
		exit = oneLine(err.Error())
		result = "TASK ERROR: " + exit + "\n"
	case l.warnings > 0:
		exit = fmt.Sprintf("WARNINGS: %d", l.warnings)
		result = "TASK " + exit + "\n"
	}
	if l.endsMidLine() {
		result = "\n" + result
	}
	if _, err := l.file.WriteString(result); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		l.overwrite(result)
	}
	return exit
}

// endsMidLine looks at the file itself, as programs that the work has run may
// have written to it too.
func (l *Log) endsMidLine() bool {
	info, err := l.file.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	if _, err := l.file.ReadAt(last, info.Size()-1); err != nil {
		return l.started
	}
	return last[0] != '\n'
}

// overwrite puts the result over the end of the log, where a full disk has room
// in any case. How the task ended is worth more than what it said before.
func (l *Log) overwrite(result string) {
	f, err := os.OpenFile(l.file.Name(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return
	}
	result = "\n" + strings.TrimPrefix(result, "\n")
	at := max(0, info.Size()-int64(len(result)))
	if at == 0 {
		result = result[1:]
	}
	if n, err := f.WriteAt([]byte(result), at); err == nil {
		_ = f.Truncate(at + int64(n))
	}
}

// oneLine makes a text fit the last line. It is never empty, as an error without
// words is still an error.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, strings.TrimRight(text, "\r\n \t"))
	if text == "" {
		return "unknown error"
	}
	return text
}

// Line is one line of a log.
type Line struct {
	N    int // the first is 1
	Text string
}

// ReadLog returns the lines of a task's log from the one after the first start
// ones on, at most limit of them (0: all), and how many lines there are.
func (h *Host) ReadLog(t id.Task, start, limit int) (lines []Line, total int, err error) {
	f, err := os.Open(h.LogPath(t))
	if err != nil {
		return nil, 0, fmt.Errorf("read task log: %w", err)
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		text, err := r.ReadString('\n')
		if text != "" {
			total++
			if total > start && (limit == 0 || len(lines) < limit) {
				lines = append(lines, Line{total, strings.TrimSuffix(text, "\n")})
			}
		}
		if errors.Is(err, io.EOF) {
			return lines, total, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read task log: %w", err)
		}
	}
}
