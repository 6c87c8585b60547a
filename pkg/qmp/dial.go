package qmp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// maxSocketPath is the longest path the kernel takes for a unix socket.
const maxSocketPath = 107

// Dial connects to the monitor socket at path and waits for QEMU's greeting, at
// most until ctx ends. A socket that is not there or that nobody serves is an
// error at once (os.ErrNotExist, syscall.ECONNREFUSED); one that is busy with
// another client is waited for.
func Dial(ctx context.Context, path string) (*Monitor, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect to qmp socket %s: %w", path, err)
	}
	m, err := New(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("connect to qmp socket %s: %w", path, err)
	}
	return m, nil
}

// DialStarting is Dial for a QEMU that has only just been started: it also waits
// until the socket appears.
func DialStarting(ctx context.Context, path string) (*Monitor, error) {
	for {
		m, err := Dial(ctx, path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return m, err
		}
		if pause(ctx, 2*time.Millisecond) != nil {
			return nil, fmt.Errorf("%w: %w", err, reason(ctx, nil))
		}
	}
}

// dial connects as soon as there is room in the queue of the listener: QEMU's
// is one client long, and the kernel refuses the others instead of letting them wait.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	if len(path) > maxSocketPath {
		// The way round: the kernel names the same folder by a short path.
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		path = filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path))
	}
	for {
		// A unix socket is connected at once or not at all, so this needs no ctx;
		// without it a missing socket is told as such also when time is up.
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		if pause(ctx, 5*time.Millisecond) != nil {
			return nil, reason(ctx, nil)
		}
	}
}

// pause waits for d, or until ctx ends, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
