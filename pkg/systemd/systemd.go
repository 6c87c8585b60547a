// Package systemd asks the systemd of a machine for scopes: units around processes
// that were not started by it, which give them a control group and an end.
//
// A machine without it has [Running] false, and nothing else here is for it.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Running tells whether systemd is the first process of the machine whose files begin
// at root.
func Running(root string) bool {
	info, err := os.Lstat(root + "/run/systemd/system")
	return err == nil && info.IsDir()
}

// Bus is a connection to systemd.
type Bus struct {
	conn manager
}

// manager is what we want of systemd.
type manager interface {
	StartTransientUnitContext(ctx context.Context, name, mode string, properties []dbus.Property, done chan<- string) (int, error)
	StopUnitContext(ctx context.Context, name, mode string, done chan<- string) (int, error)
	ResetFailedUnitContext(ctx context.Context, name string) error
	SetUnitPropertiesContext(ctx context.Context, name string, runtime bool, properties ...dbus.Property) error
	GetUnitPropertyContext(ctx context.Context, unit, name string) (*dbus.Property, error)
	Close()
}

var _ manager = (*dbus.Conn)(nil)

// Connect connects to the systemd of this machine.
func Connect(ctx context.Context) (*Bus, error) {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("systemd: %w", err)
	}
	return &Bus{conn: conn}, nil
}

// Close ends the connection.
func (b *Bus) Close() { b.conn.Close() }

// ErrJob is the error of a unit that systemd did not start or stop.
var ErrJob = errors.New("job did not succeed")

// await waits for the end of a job of systemd.
func await(ctx context.Context, done <-chan string) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("timeout waiting on systemd: %w", context.Cause(ctx))
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%w: %s", ErrJob, result)
		}
		return nil
	}
}
