package btrfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// ImportFormats returns the formats from which a volume can be made, the best one first.
func (p *pool) ImportFormats(ctx context.Context, name string, s storage.Stream) []string {
	n, err := p.Parse(name)
	if err != nil {
		return nil
	}
	if sendable(n, s) {
		return append([]string{"btrfs"}, p.Tree.ImportFormats(ctx, name, s)...)
	}
	return p.Tree.ImportFormats(ctx, name, s)
}

// Import makes a volume from a stream.
func (p *pool) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	n, _, err := p.find(name)
	switch {
	case err != nil:
		return "", err
	case !own(n) && s.Format == "btrfs":
		return "", fmt.Errorf("btrfs-receiving volumes of type %s ('%s') is not supported", n.Format, name)
	case !own(n):
		return p.Tree.Import(ctx, r, name, s, rename)
	case s.Format == "btrfs":
		return p.importSent(ctx, r, n, s, rename)
	}
	if err := tree.CheckStream(p.Type, n, s); err != nil {
		return "", err
	}
	v := storage.Receiver{Pool: p, Taken: p.taken}
	if n.Format == "subvol" {
		v.Fill = func(ctx context.Context, r io.Reader, name string, _ int64) error {
			_, subvol, err := p.find(name)
			if err != nil {
				return err
			}
			return tree.ImportFolder(ctx, p.Env, r, subvol)
		}
	}
	return v.Receive(ctx, r, name, s, rename)
}

// taken tells that a volume is there.
func (p *pool) taken(ctx context.Context, name string) (string, error) {
	n, subvol, err := p.find(name)
	if err != nil || !taken(ctx, subvol) {
		return "", err
	}
	return "file '" + inside(n, subvol) + "' already exists", nil
}

// importSent makes a volume of what btrfs send has written, or brings one that has the
// base up to date.
func (p *pool) importSent(ctx context.Context, r io.Reader, n storage.Name, s storage.Stream, rename bool) (string, error) {
	if s.Snapshot == "" {
		return "", errors.New("format 'btrfs' only works on snapshots")
	}
	subvol, err := p.subvolume(n)
	if err != nil {
		return "", err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	if s.Base != "" {
		if base := subvol + "@" + s.Base; !isSubvolume(base) {
			return "", storage.Told(fmt.Sprintf("base snapshot '%s' not found - no such directory '%s'", s.Base, base), storage.ErrNotExist)
		}
	} else {
		// The name is taken by a subvolume, so that whatever is received beside it is found with
		// it and removed with it.
		if n, subvol, err = p.claim(ctx, n, rename); err != nil {
			return "", err
		}
		if plan.From(ctx) == nil {
			undo.Add("free "+volume(n), func(ctx context.Context) error { return p.Free(ctx, volume(n)) })
		}
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("btrfs -q receive -e -- %s", run.Quote(subvol+receiving))
		return volume(n), nil
	}
	inbox, err := p.openInbox(ctx, subvol)
	if err != nil {
		return "", err
	}
	defer inbox.Close() //nolint:errcheck // only its lock mattered
	undo.Add("remove "+inbox.Name(), func(ctx context.Context) error { return p.clear(ctx, inbox.Name()) })
	if err := p.receive(ctx, r, inbox.Name()); err != nil {
		return "", err
	}
	if err := p.settle(ctx, n, subvol, inbox.Name(), s, undo); err != nil {
		return "", err
	}
	undo.Success()
	if err := p.clear(context.WithoutCancel(ctx), inbox.Name()); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return volume(n), nil
}

// claim takes the name of a volume, or a free one.
func (p *pool) claim(ctx context.Context, n storage.Name, rename bool) (storage.Name, string, error) {
	var subvol string
	err := p.locked(ctx, func(ctx context.Context) error {
		create := func(subvol string) error { return p.create(ctx, subvol) }
		made, path, err := p.reserve(ctx, n.Guest, n.Format, n.File, create)
		if errors.Is(err, storage.ErrExists) {
			if !rename {
				return storage.Told("volume "+volume(n)+" already exists", storage.ErrExists)
			}
			made, path, err = p.reserve(ctx, n.Guest, n.Format, "", create)
		}
		n, subvol = made, path
		return err
	})
	return n, subvol, err
}

// openInbox makes the folder into which a stream is received, and holds it: nobody else
// receives for the volume. One that is left from a process that was killed is emptied.
func (p *pool) openInbox(ctx context.Context, subvol string) (*os.File, error) {
	dir := subvol + receiving
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("temp receive directory already exists at '%s', incomplete concurrent import?", dir)
	}
	files, err := names(dir)
	if err == nil && len(files) > 0 {
		args := []string{"subvolume", "delete", "--"}
		for _, file := range files {
			args = append(args, filepath.Join(dir, file))
		}
		err = p.btrfs(ctx, args...)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// receive runs btrfs receive.
func (p *pool) receive(ctx context.Context, r io.Reader, inbox string) error {
	if err := p.Run(ctx, run.Cmd{
		Path: "btrfs", Args: []string{"-q", "receive", "-e", "--", inbox}, Env: []string{"LC_ALL=C"},
		Stdin: storage.ProgramInput(ctx, r), Stderr: api.StreamsOf(ctx).Err,
	}); err != nil {
		return fmt.Errorf("receive into '%s': %w", inbox, err)
	}
	return nil
}

// settle puts what was received in its place: copies of the snapshots, which cost nothing
// and keep what the next increment knows them by, and a writable one of the last.
func (p *pool) settle(ctx context.Context, n storage.Name, subvol, inbox string, s storage.Stream, undo *revert.List) error {
	got, err := p.received(ctx, n, inbox)
	if err != nil {
		return err
	}
	present := slices.IndexFunc(got, func(a arrival) bool { return a.snap == s.Snapshot })
	if present < 0 {
		return fmt.Errorf("send stream did not contain the expected current snapshot '%s'", s.Snapshot)
	}
	for _, a := range got {
		to := subvol + "@" + a.snap
		if taken(ctx, to) {
			return storage.Told(fmt.Sprintf("snapshot '%s' of '%s' already exists", a.snap, volume(n)), storage.ErrExists)
		}
		if err := p.keep(ctx, a.path, to); err != nil {
			return err
		}
		undo.Add("delete "+to, func(ctx context.Context) error {
			if !isSubvolume(to) {
				return nil
			}
			return p.btrfs(ctx, "subvolume", "delete", "--", to)
		})
	}
	return p.replace(ctx, subvol, got[present].path)
}

// An arrival is a snapshot that was received.
type arrival struct{ path, snap, id string }

// received lists the snapshots that came in a stream, in the order in which they came.
func (p *pool) received(ctx context.Context, n storage.Name, inbox string) ([]arrival, error) {
	files, err := names(inbox)
	if err != nil {
		return nil, err
	}
	var got []arrival
	disks := map[string]bool{}
	for _, file := range files {
		name, snap, ok := strings.Cut(file, "@")
		a := arrival{path: filepath.Join(inbox, file), snap: snap}
		if !ok || snap == "" || strings.HasPrefix(snap, ":") {
			return nil, errors.New("send stream included a non-snapshot subvolume")
		}
		if disks[name] = true; len(disks) > 1 {
			return nil, fmt.Errorf("multiple disks contained in stream ('%s' among them)", name)
		}
		// A link in place of the disk would give the guest another file of the host.
		if st, err := os.Lstat(inside(n, a.path)); err != nil || n.Format == "raw" && !st.Mode().IsRegular() {
			return nil, fmt.Errorf("send stream does not hold a volume of format %s", n.Format)
		}
		s, err := p.describe(ctx, a.path)
		if err != nil {
			return nil, err
		}
		a.id = s.ID
		got = append(got, a)
	}
	slices.SortFunc(got, func(a, b arrival) int {
		return cmp.Or(cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	return got, nil
}

var (
	_ storage.Pool        = (*pool)(nil)
	_ storage.Snapshotter = (*pool)(nil)
	_ storage.Cloner      = (*pool)(nil)
	_ storage.Exporter    = (*pool)(nil)
	_ storage.Importer    = (*pool)(nil)
	_ storage.BaseKeeper  = (*pool)(nil)
)
