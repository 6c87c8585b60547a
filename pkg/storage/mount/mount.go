// Package mount is what storages share whose folder is another machine's: mounting
// it, knowing whether it is mounted and from where, and asking in bounded time
// whether it still answers.
//
// A type embeds a [Pool], which is a tree below a mount point, and says in a
// [Source] what is mounted there. Nothing is ever written below a mount point where
// nothing is mounted: with the server gone, images would land on the root file
// system.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// A Source is what belongs on a mount point.
type Source struct {
	Type    string   // as mount -t takes it
	Device  string   // what mount is told to mount
	Options []string // each after a -o of its own
	// Command mounts it, where that is not for mount with what is above. It may be nil.
	Command func() (run.Cmd, error)
	// Is tells whether something that is mounted is this. Nil compares the device, and the type
	// as far as it goes: what is mounted as nfs is shown as nfs4.
	Is func(Entry) bool
	// Check fails, in bounded time, unless the server is there. It is asked before
	// mounting, which is less patient with what can be known before. It may be nil.
	Check func(ctx context.Context) error
	// Cache is how qemu-img writes to images, as its -t has it. It does not look at what
	// closing a file returns, which is when clients that keep data back tell that the
	// server was full.
	Cache string
	// Hint says more of why mounting failed; empty where it knows nothing. It may be nil.
	Hint func(said string) string
}

// A Pool is a tree below a mount point.
type Pool struct {
	tree.Tree
	Source
	make     bool // the mount point, when it is missing
	patience time.Duration
}

// New returns a pool of what is mounted at a tree's folder. Server names the machine it
// comes from.
func New(t tree.Tree, server string, s Source) *Pool {
	if s.Is == nil {
		s.Is = func(e Entry) bool {
			return strings.HasPrefix(e.Type, s.Type) && strings.TrimRight(e.Device, "/") == strings.TrimRight(s.Device, "/")
		}
	}
	p := &Pool{Tree: t, Source: s, make: t.MakeBase, patience: mountPatience}
	// Below, a missing folder means that nothing is mounted: none is to be made.
	p.MakeBase, p.Remote, p.Tree.Server = false, true, server
	return p
}

// Complete gives a new section the usual mount point.
func Complete(storeid id.Storage, root string, options schema.Params) {
	if options["path"] == "" {
		options["path"] = filepath.Join(root, "mnt/pve", string(storeid))
	}
}

// How long things may take.
const (
	lockPatience  = 60 * time.Second // for another who mounts the same
	mountPatience = 30 * time.Second
	endPatience   = 2 * time.Second // for a program that was told to end
)

// Activate mounts what is not mounted yet, and makes sure that it answers.
func (p *Pool) Activate(ctx context.Context) error {
	mounted, err := p.Mounted(ctx)
	if err != nil || plan.From(ctx) != nil {
		return err
	}
	if mounted {
		if err := p.Answers(ctx); err == nil {
			return p.Tree.Activate(ctx)
		} else if !gone(err) {
			return err
		}
	}
	if err := p.bring(ctx); err != nil {
		return err
	}
	return p.Tree.Activate(ctx)
}

// gone tells whether a file system is mounted that will never answer again: its process
// on this host has ended, or the server has forgotten what it served.
func gone(err error) bool { return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ESTALE) }

// Mounted tells whether the source is mounted where it belongs. That something else is
// there is an error.
func (p *Pool) Mounted(ctx context.Context) (bool, error) {
	e, ok, err := At(p.Root, func(look func() error) error { return p.Bounded(ctx, look) })
	if err != nil {
		return false, err
	}
	if ok && !p.Is(e) {
		return false, p.unable(&foreign{p.Root, p.Device, e})
	}
	return ok, nil
}

// foreign is the error of a mount point that is another's.
type foreign struct {
	point, device string
	is            Entry
}

func (e *foreign) Error() string {
	return fmt.Sprintf("'%s' is a mount point already, of '%s' (%s) and not of '%s'", e.point, e.is.Device, e.is.Type, e.device)
}

func (p *Pool) unable(err error) error {
	return fmt.Errorf("unable to activate storage '%s' - %w", p.ID, err)
}

// bring mounts the source, unless another has done so in between.
func (p *Pool) bring(ctx context.Context) error {
	lock := filepath.Join(p.Env.Root, "run/virtsmith/mount-"+string(p.ID))
	o := file.LockOptions{Patience: lockPatience, What: "mount storage " + string(p.ID)}
	return file.WithLock(ctx, lock, o, func(ctx context.Context) error {
		mounted, err := p.Mounted(ctx)
		if err != nil {
			return err
		}
		if mounted {
			switch err := p.Answers(ctx); {
			case err == nil:
				return nil
			case !gone(err):
				return err
			}
			if err := p.clear(ctx); err != nil {
				return p.unable(err)
			}
		}
		if err := p.point(); err != nil {
			return err
		}
		return p.mount(ctx)
	})
}

// point makes the mount point.
func (p *Pool) point() error {
	if p.make {
		if err := os.MkdirAll(p.Root, 0o755); err != nil {
			return p.unable(err)
		}
	}
	if st, err := os.Stat(p.Root); errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return p.unable(fmt.Errorf("directory '%s' does not exist", p.Root))
	} else if err != nil {
		return p.unable(err)
	}
	return nil
}

// mount asks the server first: what it does not answer to us, it would not answer to the
// kernel, which waits for minutes.
func (p *Pool) mount(ctx context.Context) error {
	if p.Check != nil {
		if err := p.Check(ctx); err != nil {
			return fmt.Errorf("storage '%s' is not online: server %s: %w", p.ID, p.Tree.Server, err)
		}
	}
	c := p.Mount(p.Device, p.Options)
	if p.Command != nil {
		var err error
		if c, err = p.Command(); err != nil {
			return p.unable(err)
		}
	}
	if err := p.run(ctx, c); err != nil {
		return p.unable(fmt.Errorf("mount error: %w%s", err, p.hint(err)))
	}
	if mounted, err := p.Mounted(ctx); err != nil {
		return err
	} else if !mounted {
		return p.unable(fmt.Errorf("mount error: '%s' is not mounted although %s succeeded", p.Root, c.Name()))
	}
	return nil
}

// Mount returns the command that mounts a device where the source belongs, for sources
// that know what to mount only then.
func (p *Pool) Mount(device string, options []string) run.Cmd {
	args := []string{"-t", p.Type, device, p.Root}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	return run.Command("mount", args...)
}

func (p *Pool) hint(err error) string {
	failed, ok := errors.AsType[*run.Error](err)
	if !ok || p.Hint == nil {
		return ""
	}
	if more := p.Hint(failed.Stderr); more != "" {
		return " (" + more + ")"
	}
	return ""
}

// clear takes away what is mounted but gone.
func (p *Pool) clear(ctx context.Context) error {
	return p.Bounded(ctx, func() error {
		if err := unix.Unmount(p.Root, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("umount '%s': %w", p.Root, err)
		}
		return nil
	})
}

// Deactivate unmounts the source. That of a server that is gone is taken out of the way
// at once, and ends when its last user does.
func (p *Pool) Deactivate(ctx context.Context) error {
	mounted, err := p.Mounted(ctx)
	if _, ok := errors.AsType[*foreign](err); ok {
		return nil // it is not ours that is mounted
	}
	if err != nil || !mounted {
		return err
	}
	if err := p.Answers(ctx); err != nil && plan.From(ctx) == nil {
		return p.clear(ctx)
	}
	if err := p.run(ctx, run.Command("umount", p.Root)); err != nil {
		return fmt.Errorf("storage '%s': umount error: %w", p.ID, err)
	}
	return nil
}

// Status fails where nothing is mounted: it would be that of the root file system.
func (p *Pool) Status(ctx context.Context) (storage.Status, error) {
	if mounted, err := p.Mounted(ctx); err != nil {
		return storage.Status{}, err
	} else if !mounted {
		return storage.Status{}, fmt.Errorf("storage '%s' is not mounted on '%s'", p.ID, p.Root)
	}
	return p.Tree.Status(ctx)
}

// Info looks at one volume. Others do so without asking for the storage first, and a
// volume that cannot be seen for want of a mount must not be taken for absent.
func (p *Pool) Info(ctx context.Context, name string) (storage.Info, error) {
	if _, err := p.Parse(name); err != nil {
		return storage.Info{}, err
	}
	if err := p.Activate(ctx); err != nil {
		return storage.Info{}, err
	}
	return p.Tree.Info(ctx, name)
}

// Image returns how qemu-img reads and writes an image.
func (p *Pool) Image(_ context.Context, name, snap string, target bool) (storage.Image, error) {
	img, err := storage.PlainImage(&p.Tree, name, snap)
	if target {
		img.Cache = p.Cache
	}
	return img, err
}

// run runs a program that may hang in the kernel, and leaves it behind when it does.
func (p *Pool) run(ctx context.Context, c run.Cmd) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, fmt.Errorf("not done after %s", p.patience))
	defer cancel()
	c.Env = append(c.Env, "LC_ALL=C")
	c.Grace = endPatience
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, c) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(2 * endPatience):
		return fmt.Errorf("%s: %w", c.Name(), context.Cause(ctx))
	}
}
