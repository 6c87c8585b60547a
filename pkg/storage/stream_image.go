package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/nbd"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// ExportImage writes a raw+size stream of the disk in an image of another format.
// qemu-img wants to seek in what it writes, so a qemu-nbd gives the disk out.
func ExportImage(ctx context.Context, env Env, w io.Writer, path, format string) error {
	return ExportDisk(ctx, env, w, Image{Path: path, Format: format})
}

// ExportDisk is [ExportImage] of what only driver options can name.
func ExportDisk(ctx context.Context, env Env, w io.Writer, img Image) error {
	path, args := img.Path, []string{"-r", "-f", img.Format}
	if img.Options {
		args = []string{"-r", "--image-opts"}
	}
	dir, err := os.MkdirTemp("", "virtsmith-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // only a socket is in it
	ctx, cancel := context.WithCancelCause(ctx)
	socket := filepath.Join(dir, "nbd")
	served := make(chan error, 1)
	go func() {
		err := env.Runner.Run(ctx, run.Cmd{
			Path: "qemu-nbd", Args: append(args, "-k", socket, path), Env: []string{"LC_ALL=C"},
			Stderr: api.StreamsOf(ctx).Err, ReadOnly: true,
		})
		cancel(fmt.Errorf("read %s: %w", path, cmp.Or(err, errServed)))
		served <- err
	}()
	defer func() {
		cancel(nil)
		<-served
	}()
	conn, err := dial(ctx, socket)
	if err != nil {
		return err
	}
	defer conn.Close()    //nolint:errcheck // only read
	_ = os.RemoveAll(dir) // now, as a broken pipe ends us without a word
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	c, err := nbd.Open(conn, "")
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	o := Sending{Size: c.Size(), Length: c.Size(), Block: 64 << 10, What: path}
	return ExportReader(ctx, w, io.NewSectionReader(c, 0, c.Size()), o)
}

var errServed = errors.New("qemu-nbd has ended")

// dial waits for the server, whose end ends ctx.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	const between = 5 * time.Millisecond
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(between):
		}
	}
}
