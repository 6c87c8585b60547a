package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// What a backup has beside it.
func notes(path string) string      { return path + ".notes" }
func protection(path string) string { return path + ".protected" }

// backupPath returns where a backup lies; other volumes have no notes.
func (t *Tree) backupPath(name string, cannot string) (string, error) {
	n, path, err := t.find(name)
	if err == nil && n.Content != storage.Backups {
		err = errors.New(cannot)
	}
	return path, err
}

// mostNotes bounds the size of notes.
const mostNotes = 64 << 10

// Notes returns the notes of a backup.
func (t *Tree) Notes(_ context.Context, name string) (string, error) {
	path, err := t.backupPath(name, "only backups can have notes")
	if err != nil {
		return "", err
	}
	text, err := file.ReadOptional(notes(path), mostNotes)
	return string(text), err
}

// SetNotes replaces the notes of a backup; empty ones go.
func (t *Tree) SetNotes(ctx context.Context, name, text string) error {
	path, err := t.backupPath(name, "only backups can have notes")
	if err != nil {
		return err
	}
	path = notes(path)
	if p := plan.From(ctx); p != nil {
		p.Stepf("write %s", path)
		return nil
	}
	if text != "" {
		return file.Write(path, []byte(text), 0o644)
	}
	return gone(os.Remove(path))
}

// Protected tells whether a backup is kept from being removed.
func (t *Tree) Protected(_ context.Context, name string) (bool, error) {
	path, err := t.backupPath(name, "only backups can be protected")
	return err == nil && file.Exists(protection(path)), err
}

// SetProtected keeps a backup from being removed, or lets it go.
func (t *Tree) SetProtected(ctx context.Context, name string, on bool) error {
	path, err := t.backupPath(name, "only backups can be protected")
	if err != nil {
		return err
	}
	path = protection(path)
	switch p := plan.From(ctx); {
	case p != nil && on:
		p.Stepf("touch %s", run.Quote(path))
		return nil
	case p != nil:
		p.Stepf("rm %s", run.Quote(path))
		return nil
	case on:
		return file.Write(path, nil, 0o644)
	}
	return gone(os.Remove(path))
}

// gone is nil when what was to be removed is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

var (
	_ storage.Pool            = (*Tree)(nil)
	_ storage.Resizer         = (*Tree)(nil)
	_ storage.Snapshotter     = (*Tree)(nil)
	_ storage.Cloner          = (*Tree)(nil)
	_ storage.BaseCreator     = (*Tree)(nil)
	_ storage.Renamer         = (*Tree)(nil)
	_ storage.VolumeActivator = (*Tree)(nil)
	_ storage.Locator         = (*Tree)(nil)
	_ storage.Directory       = (*Tree)(nil)
	_ storage.Annotator       = (*Tree)(nil)
	_ storage.Protector       = (*Tree)(nil)
)
