package qmp

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"
)

// Status is the run state of a machine.
type Status struct {
	// Status is QEMU's word: running, paused, prelaunch, inmigrate, suspended,
	// shutdown, io-error, internal-error and so on.
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

// Status asks for the run state.
func (m *Monitor) Status(ctx context.Context) (Status, error) {
	var s Status
	err := m.Call(ctx, "query-status", nil, &s)
	return s, err
}

// Commands returns the names of all commands this QEMU has, sorted.
func (m *Monitor) Commands(ctx context.Context) ([]string, error) {
	var all []struct{ Name string }
	if err := m.Call(ctx, "query-commands", nil, &all); err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	slices.Sort(names)
	return names, nil
}

// HMP runs a line of the monitor for humans and returns what it printed. Its
// errors are printed text too: nothing tells them apart from success.
func (m *Monitor) HMP(ctx context.Context, line string) (string, error) {
	var out string
	err := m.Call(ctx, "human-monitor-command", map[string]string{"command-line": line}, &out)
	return out, err
}

// Quit ends QEMU at once and waits until its monitor is gone. The answer is not
// insisted on: QEMU may be gone before it is sent.
func (m *Monitor) Quit(ctx context.Context) error {
	if err := m.Call(ctx, "quit", nil, nil); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return &CallError{Command: "quit", Err: reason(ctx, nil)}
	}
}

// UnplugDevice removes a device and waits until the guest has let go of it, for
// at most the time given. ErrTimeout means that the guest did not answer.
func (m *Monitor) UnplugDevice(ctx context.Context, id string, patience time.Duration) error {
	s := m.Subscribe("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR")
	defer s.Close()
	if err := m.Call(ctx, "device_del", map[string]string{"id": id}, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err := s.Wait(ctx, func(e Event) bool {
		var d struct{ Device string }
		return e.Decode(&d) == nil && d.Device == id
	})
	if err == nil && e.Name != "DEVICE_DELETED" {
		err = &Error{Class: GenericError, Desc: "the guest refused to release the device"}
	}
	if err != nil {
		return &CallError{Command: "device_del", Err: err}
	}
	return nil
}

// PassFile gives QEMU an open file under a name, for options that take the name
// of a file descriptor (getfd). A file already there under that name is replaced.
func (m *Monitor) PassFile(ctx context.Context, name string, f *os.File) error {
	return m.CallFile(ctx, f, "getfd", map[string]string{"fdname": name}, nil)
}

// DropFile takes back a file that PassFile gave and nothing has used (closefd).
func (m *Monitor) DropFile(ctx context.Context, name string) error {
	return m.Call(ctx, "closefd", map[string]string{"fdname": name}, nil)
}

// AddFile puts an open file into a set, to be opened by QEMU as /dev/fdset/SET
// (add-fd), and returns the set's number. A negative set asks for a new one.
func (m *Monitor) AddFile(ctx context.Context, set int, f *os.File) (int, error) {
	args := map[string]any{}
	if set >= 0 {
		args["fdset-id"] = set
	}
	var added struct {
		Set int `json:"fdset-id"`
	}
	err := m.CallFile(ctx, f, "add-fd", args, &added)
	return added.Set, err
}

// RemoveFiles gives up a set that AddFile made (remove-fd). Files of it that are
// in use stay open until they are not.
func (m *Monitor) RemoveFiles(ctx context.Context, set int) error {
	return m.Call(ctx, "remove-fd", map[string]int{"fdset-id": set}, nil)
}
