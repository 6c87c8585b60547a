package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Answers fails at once where the folder is another machine's and that does not
// answer. A folder of our own is taken to answer, and so is one that is not there yet.
func (t *Tree) Answers(ctx context.Context) error {
	if !t.Remote || plan.From(ctx) != nil {
		return nil
	}
	if _, err := t.Status(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unreachable says which storage did not answer, whose it is and what to do.
func (t *Tree) unreachable(err error) error {
	var why error
	if silent, ok := errors.AsType[*storage.NoAnswer](err); ok {
		why = silent
	} else if errno, ok := errors.AsType[syscall.Errno](err); ok && lost(errno) {
		why = errno
	} else {
		return fmt.Errorf("storage '%s': %w", t.ID, err)
	}
	who := "'" + t.Root + "'"
	if t.Server != "" {
		who = "server " + t.Server
	}
	return fmt.Errorf("storage '%s' is not online: %s: %w; check that it runs and can be reached from here, or disable the storage", t.ID, who, why)
}

// lost tells whether an error is that of a server which a mount that does not wait for
// ever has given up.
func lost(errno syscall.Errno) bool {
	switch errno {
	case syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ETIMEDOUT,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EAGAIN:
		return true
	}
	return false
}
