package task

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// process is what /proc tells of one.
type process struct {
	state   byte
	session int
	start   uint64 // clock ticks after boot
}

// lookAt reads /proc/PID/stat.
func lookAt(pid int) (process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	// The name, in parentheses, may hold anything, so count from its end.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return process{}, fmt.Errorf("process %d: /proc tells too little", pid)
	}
	session, err1 := strconv.Atoi(fields[3])
	start, err2 := strconv.ParseUint(fields[19], 10, 64)
	return process{fields[0][0], session, start}, errors.Join(err1, err2)
}

// alive tells whether the process of that id is still the one that was started at
// that time, and more than a name waiting for its parent.
func alive(pid int, start uint64) bool {
	if pid <= 0 {
		return false
	}
	p, err := lookAt(pid)
	return err == nil && p.start == start && p.state != 'Z' && p.state != 'X'
}

// isWorker tells whether a process was started for one task alone: it leads a session.
func isWorker(pid int) bool {
	p, err := lookAt(pid)
	return err == nil && p.session == pid
}

// killSession ends every process of a session at once. Programs that the worker
// has run are in groups of their own; a guest it has started is in a session of
// its own and stays.
func killSession(session int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := lookAt(pid); err == nil && p.session == session {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
