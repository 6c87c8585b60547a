package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Files larger than this are not ours: pmxcfs has none.
const fileLimit = 1 << 20

// ErrReadOnly is the error of a change while /etc/pve cannot be changed.
var ErrReadOnly = errors.New("/etc/pve is read-only: in a cluster this means that quorum is lost, see 'pvecm status'")

// ReadFile returns the content of a file. Its name is relative to /etc/pve. In a dry run it
// is what the file would hold by then.
func (c *Client) ReadFile(ctx context.Context, name string) ([]byte, error) {
	path := c.Path(name)
	if p := plan.From(ctx); p != nil {
		if text, ok := p.Read(path); ok {
			if text == nil {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			return []byte(*text), nil
		}
	}
	return file.Read(path, fileLimit)
}

// ReadOptional is [Client.ReadFile] for a file that may be absent, which reads as nil.
func (c *Client) ReadOptional(ctx context.Context, name string) ([]byte, error) {
	b, err := c.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// WriteFile replaces the content of a file, which is made where it is absent, folders
// included. In a dry run it tells the difference instead.
func (c *Client) WriteFile(ctx context.Context, name string, data []byte) error {
	path := c.Path(name)
	if len(data) > fileLimit { // nobody could read it again
		return fmt.Errorf("write %s: %w: more than %d bytes", path, file.ErrTooLarge, fileLimit)
	}
	if p := plan.From(ctx); p != nil {
		old, err := c.ReadOptional(ctx, name)
		if err != nil {
			return err
		}
		tellDiff(p, name, old, data)
		p.Write(path, new(string(data)))
		return nil
	}
	if err := c.Init(); err != nil {
		return err
	}
	if err := c.mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	return readOnly(file.Write(path, data, mode(name)))
}

// mode is what pmxcfs shows: what lies below priv is for root alone.
func mode(name string) fs.FileMode {
	if isPrivate(name) {
		return 0o600
	}
	return 0o640
}

func isPrivate(name string) bool {
	return strings.HasPrefix(name, "priv/") || strings.HasPrefix(name, "nodes/") && strings.Contains(name, "/priv/")
}

// Remove removes a file. One that is absent already is no error.
func (c *Client) Remove(ctx context.Context, name string) error {
	path := c.Path(name)
	if p := plan.From(ctx); p != nil {
		old, err := c.ReadOptional(ctx, name)
		if err != nil || old == nil {
			return err
		}
		tellDiff(p, name, old, nil)
		p.Write(path, nil)
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return readOnly(err)
	}
	return nil
}

// Rename gives a file another name, which must be free or that of a file to replace.
func (c *Client) Rename(ctx context.Context, from, to string) error {
	if p := plan.From(ctx); p != nil {
		data, err := c.ReadFile(ctx, from)
		if err != nil {
			return err
		}
		p.Stepf("rename /etc/pve/%s to /etc/pve/%s", from, to)
		p.Write(c.Path(from), nil)
		p.Write(c.Path(to), new(string(data)))
		return nil
	}
	if err := c.mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	if err := os.Rename(c.Path(from), c.Path(to)); err != nil {
		return readOnly(err)
	}
	return file.SyncDir(filepath.Dir(c.Path(to)))
}

// Exists tells whether a file is there, or would be in a dry run.
func (c *Client) Exists(ctx context.Context, name string) bool {
	if p := plan.From(ctx); p != nil {
		if text, ok := p.Read(c.Path(name)); ok {
			return text != nil
		}
	}
	return file.Exists(c.Path(name))
}

// mkdir makes a folder of the cluster and those above it.
func (c *Client) mkdir(name string) error {
	perm := fs.FileMode(0o755)
	if strings.HasSuffix(name, "/priv") || isPrivate(name+"/") {
		perm = 0o700
	}
	return readOnly(os.MkdirAll(c.Path(name), perm))
}

// readOnly says what a refused change means.
func readOnly(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no right to change /etc/pve, or quorum is lost: %w", err)
	}
	return err
}
