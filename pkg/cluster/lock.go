package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Patience is how long commands wait for a lock where they do not say: for a hundred
// that write one file one after another on a slow disk. Upstream gives up after 10 s.
const Patience = 30 * time.Second

// LockGuest locks the configuration of a guest on our node against other commands.
// A dry run locks nothing. The error that patience ran out is a [*file.LockTimeout],
// which names the holder.
func (c *Client) LockGuest(ctx context.Context, kind Kind, vmid id.VM, o file.LockOptions) (*file.Lock, error) {
	name := "qemu-server/lock-" + vmid.String() + ".conf"
	if kind == Container {
		name = "lxc/pve-config-" + vmid.String() + ".lock"
	}
	if plan.From(ctx) != nil {
		return &file.Lock{}, nil
	}
	return file.Acquire(ctx, filepath.Join(c.root, "run/lock", name), o)
}

// WithGuest runs fn while the configuration of a guest is locked.
func (c *Client) WithGuest(ctx context.Context, kind Kind, vmid id.VM, o file.LockOptions, fn func(context.Context) error) error {
	lock, err := c.LockGuest(ctx, kind, vmid, o)
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // closing a lock file cannot lose anything
	return fn(ctx)
}

// A DomainLock is a lock that holds in the whole cluster.
type DomainLock struct {
	dir   string
	local *file.Lock
}

// Lock takes the lock of the given name for the whole cluster: a folder below
// priv/lock, which only one can make. On our node it is a lock on a file besides, so that
// its holder is known and a dead one is noticed. A dry run locks nothing.
//
// Who holds it longer than two minutes on a cluster loses it.
func (c *Client) Lock(ctx context.Context, name string, o file.LockOptions) (*DomainLock, error) {
	if plan.From(ctx) != nil {
		return &DomainLock{}, nil
	}
	if err := c.Init(); err != nil {
		return nil, err
	}
	deadline := c.Now().Add(o.Patience)
	local, err := file.Acquire(ctx, filepath.Join(c.root, "run/lock/pve-cluster", name), o)
	if err != nil {
		return nil, domainTimeout(name, err)
	}
	dir := c.Path(filepath.Join("priv/lock", name))
	for {
		err := os.Mkdir(dir, 0o700)
		switch {
		case err == nil:
			return &DomainLock{dir: dir, local: local}, nil
		case errors.Is(err, fs.ErrExist):
			c.breakStale(dir)
		default:
			_ = local.Release()
			return nil, readOnly(err)
		}
		if o.Patience <= 0 || c.Now().After(deadline) {
			_ = local.Release()
			return nil, domainTimeout(name, &file.LockTimeout{Path: dir})
		}
		select {
		case <-ctx.Done():
			_ = local.Release()
			return nil, fmt.Errorf("lock %s: %w", name, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// domainTimeout words a timeout as upstream does, with the holder after it.
func domainTimeout(name string, err error) error {
	timeout, ok := errors.AsType[*file.LockTimeout](err)
	if !ok {
		return err
	}
	who := timeout.Holder.String()
	if who == "" {
		who = "another node"
	}
	return fmt.Errorf("cfs-lock '%s' error: got lock request timeout: held by %s: %w", name, who, err)
}

// breakStale takes the lock away from a holder that is gone. In a plain tree all
// holders are on this machine and hold the file lock too, which is ours by now; in
// a cluster pmxcfs is asked, which knows how long the lock was idle, takes it away after
// two minutes, and refuses the request in any case.
func (c *Client) breakStale(dir string) {
	if c.clustered() {
		_ = os.Chtimes(dir, time.Unix(0, 0), time.Unix(0, 0))
		return
	}
	_ = os.Remove(dir)
}

// fuseMagic is the type that statfs(2) gives for pmxcfs.
const fuseMagic = 0x65735546

// clustered tells whether /etc/pve is the mount of pmxcfs.
func (c *Client) clustered() bool {
	var s syscall.Statfs_t
	return syscall.Statfs(c.Path(""), &s) == nil && s.Type == fuseMagic
}

// Release gives the lock back.
func (l *DomainLock) Release() error {
	if l.dir == "" {
		return nil
	}
	err := os.Remove(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	l.dir = ""
	return errors.Join(err, l.local.Release())
}

// WithLock runs fn while the lock of the given name is held in the whole cluster.
func (c *Client) WithLock(ctx context.Context, name string, o file.LockOptions, fn func(context.Context) error) error {
	lock, err := c.Lock(ctx, name, o)
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // what fn has done is done
	return fn(ctx)
}
