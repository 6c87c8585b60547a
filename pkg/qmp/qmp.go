// Package qmp talks to a running QEMU: to its monitor by the machine protocol
// (QMP), and to the guest agent inside the guest, which speaks a dialect of it.
//
// It knows commands, replies, events, jobs and file descriptors, and nothing of
// virtual machine configurations. A monitor socket serves one client at a time:
// a second one waits in Dial until the first has gone.
package qmp

import (
	"context"
	"errors"
	"fmt"
	"os"
)

var (
	// ErrTimeout is the cause of a call whose answer did not come in time. The
	// command may still be carried out later.
	ErrTimeout = errors.New("got timeout")
	// ErrClosed is the cause of a call on a connection that has ended: QEMU is
	// gone, or Close was called.
	ErrClosed = errors.New("connection closed")
	// ErrCancelled is how a job ended that somebody cancelled.
	ErrCancelled = errors.New("job cancelled")
	// ErrNoJob is returned when a job is waited for that QEMU does not have.
	ErrNoJob = errors.New("no such job")
	// ErrNoAgent is returned when nothing in the guest answers on the agent's port.
	ErrNoAgent = errors.New("QEMU guest agent is not running")
)

// Error classes a caller may branch on; nearly all errors are GenericError.
const (
	GenericError    = "GenericError"
	CommandNotFound = "CommandNotFound"
	DeviceNotActive = "DeviceNotActive"
	DeviceNotFound  = "DeviceNotFound"
)

// Error is what QEMU or the guest agent answered instead of a result.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

// Error returns the description alone, as QEMU worded it.
func (e *Error) Error() string { return e.Desc }

// HasClass tells whether err is an answer of the given error class.
func HasClass(err error, class string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Class == class
}

// CallError tells which command had no result, and why. Its text is made to
// follow the name of the machine: fmt.Errorf("VM %d %w", vmid, err) reads
// "VM 100 qmp command 'cont' failed - got timeout".
type CallError struct {
	Command string
	Err     error
	agent   bool
}

// Error returns the text "qmp command 'NAME' failed - REASON".
func (e *CallError) Error() string {
	door := "qmp"
	if e.agent {
		door = "qga"
	}
	return fmt.Sprintf("%s command '%s' failed - %v", door, e.Command, e.Err)
}

// Unwrap returns the reason: an *Error, ErrTimeout, ErrClosed or the cause of a
// cancelled context.
func (e *CallError) Unwrap() error { return e.Err }

// reason says why a context ended, in the words of this package: a deadline is
// ErrTimeout, also when only the connection noticed it.
func reason(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ErrTimeout
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	}
	return err
}
