package setup

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

// large bounds the files that are read to be changed; a hosts file of those who block
// advertisements with it has a few MiB.
const large = 16 << 20

// Target is the container that is set up: its root, and what it shall be like. It does what most
// distributions do alike; a distribution has it inside and does some of it in its own way.
type Target struct {
	Root     *rootfs.Root
	Config   *container.Config
	Env      Env
	OSType   string
	Release  map[string]string // os-release
	PlainTTY bool
}

// Fixup does nothing: most templates need none.
func (t *Target) Fixup() error { return nil }

func (t *Target) unprivileged() bool { return t.Config.Unprivileged != nil && *t.Config.Unprivileged }

// TTYs returns how many ttys the container has.
func (t *Target) TTYs() int {
	if t.Config.TTY != nil {
		return *t.Config.TTY
	}
	return 2
}

// Exists tells whether a regular file is there.
func (t *Target) Exists(name string) bool {
	info, err := t.Root.Stat(name)
	return err == nil && info.IsRegular()
}

// IsDir tells whether a folder is there.
func (t *Target) IsDir(name string) bool {
	info, err := t.Root.Stat(name)
	return err == nil && info.IsDir()
}

// IsExecutable tells whether a program is there.
func (t *Target) IsExecutable(name string) bool {
	info, err := t.Root.Stat(name)
	return err == nil && info.IsRegular() && info.Mode&0o111 != 0
}

// Read returns the text of a file, and whether it is there. Where a regular file belongs and
// something else stands, there is none.
func (t *Target) Read(name string) (text string, there bool, err error) {
	data, err := t.Root.ReadFile(name, large)
	if absent(err) {
		return "", false, nil
	}
	return string(data), err == nil, err
}

// absent tells an error of reading that means there is no such file: links that lead in a circle
// or jump out of /proc are none either.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, rootfs.ErrNotRegular) ||
		errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR)
}

// FirstLine returns the first line of a file, empty when there is none.
func (t *Target) FirstLine(name string) (string, error) {
	text, _, err := t.Read(name)
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line), err
}

// Ignored tells whether the administrator of the container keeps a file for himself.
func (t *Target) Ignored(name string) bool {
	return t.Exists(path.Join(path.Dir(name), ".pve-ignore."+path.Base(name)))
}

// Write sets the content of a file that is not ignored, if it has another one. Mode and owner of
// a file that is there stay as they are.
func (t *Target) Write(name, text string) error {
	return t.write(name, text, rootfs.Attr{})
}

// WriteMode is Write for a file that shall have certain permissions.
func (t *Target) WriteMode(name, text string, mode fs.FileMode) error {
	return t.write(name, text, rootfs.Attr{Mode: &mode})
}

func (t *Target) write(name, text string, attr rootfs.Attr) error {
	if t.Ignored(name) {
		return nil
	}
	info, err := t.Root.Lstat(name)
	if err == nil && info.IsRegular() && info.Size == int64(len(text)) && (attr.Mode == nil || info.Mode == *attr.Mode) {
		old, err := t.Root.ReadFile(name, info.Size)
		if err == nil && bytes.Equal(old, []byte(text)) {
			return nil
		}
	}
	return t.Root.WriteFile(name, []byte(text), attr)
}

// Edit sets the content of a file to what change makes of it, if it is there.
func (t *Target) Edit(name string, change func(text string) string) error {
	text, there, err := t.Read(name)
	if err != nil || !there {
		return err
	}
	changed := change(text)
	if changed == text {
		return nil
	}
	return t.Write(name, changed)
}

// Remove takes a file or link away that is not ignored; there may be none.
func (t *Target) Remove(name string) error {
	if t.Ignored(name) {
		return nil
	}
	err := t.Root.Remove(name)
	if absent(err) {
		return nil
	}
	return err
}

// Link makes a link that is not ignored; what stands there stays.
func (t *Target) Link(to, name string) error {
	if t.Ignored(name) {
		return nil
	}
	err := t.Root.Symlink(to, name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Mkdir makes folders that are missing.
func (t *Target) Mkdir(name string) error { return t.Root.MkdirAll(name, 0o755) }
