package power

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// errReboot is the error of a hook that fails to keep LXC from rebooting the container by
// itself, with the configuration, the mounts and the network of the last time.
var errReboot = errors.New("the container is started anew")

// Hooked does what LXC calls us for in one of its hooks. target is what becomes of a container
// that has ended: stop or reboot.
func (s *Service) Hooked(ctx context.Context, phase string, vmid id.VM, target string) error {
	switch phase {
	case "pre-start":
		return s.saying(ctx, vmid, phase, func(ctx context.Context) error { return s.mountAll(ctx, vmid) })
	case "start-host":
		return s.saying(ctx, vmid, phase, func(ctx context.Context) error { return s.join(ctx, vmid) })
	case "post-stop":
		err := s.saying(ctx, vmid, phase, func(ctx context.Context) error { return s.ended(ctx, vmid, target) })
		if target == rebootTarget {
			return errors.Join(err, errReboot)
		}
		return err
	case afterPhase:
		return s.after(ctx, vmid, target)
	}
	return fmt.Errorf("no hook of containers: %s", phase)
}

const (
	rebootTarget = "reboot"
	// afterPhase is what we call ourselves for when the monitor is about to end.
	afterPhase = "after"
)

// mountAll mounts what the container is made of, in the monitor's mount namespace, and
// prepares its files.
func (s *Service) mountAll(ctx context.Context, vmid id.VM) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	conf := container.Typed(doc.Values)
	ids, err := mapOf(conf, container.RawLines(doc.Values))
	if err != nil {
		return err
	}
	points, err := (&volumes.Service{Host: s.Host}).MountPoints(ctx, conf)
	if err != nil {
		return err
	}
	host := mount.Host{Warn: func(format string, args ...any) { api.Warnf(ctx, format, args...) }}
	// The user may have mounted the container to look at it, see "pct mount".
	if err := host.UnmountTree(ctx, s.RootDir(vmid)); err != nil {
		return err
	}
	stack, err := host.Mount(ctx, s.RootDir(vmid), IDs(ids), points)
	if err != nil {
		return err
	}
	quota, err := quotaNodes(stack)
	stack.Release()
	if err == nil {
		err = errors.Join(s.noteQuota(vmid, conf, quota), s.makeNodes(ctx, vmid, conf, ids, quota))
	}
	if err != nil {
		return err
	}
	if s.Setup == nil {
		return nil
	}
	owner := IDs(ids).Root()
	root, err := rootfs.Open(s.RootDir(vmid), rootfs.Owner{UID: owner.UID, GID: owner.GID})
	if err != nil {
		return err
	}
	defer root.Close()
	return s.Setup(ctx, root, conf)
}

// makeNodes makes the nodes of the devices that the container gets, and more, in a file system
// of their own, from which LXC mounts them one by one.
func (s *Service) makeNodes(ctx context.Context, vmid id.VM, conf *container.Config, ids idmap.Map, more []mount.Node) error {
	if len(conf.Device)+len(more) == 0 {
		return nil
	}
	found, err := nodes(conf, ids)
	if err != nil {
		return err
	}
	path := s.path(vmid, lxcconf.Passthrough)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("none", path, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	dir, err := mount.OpenFolder(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, n := range more {
		if err := n.Make(ctx, dir, n.Path, mount.Owner{}); err != nil {
			return err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(found)) {
		if err := found[n].Make(ctx, dir, found[n].Path, mount.Owner{}); err != nil {
			return fmt.Errorf("dev%d: %w", n, err)
		}
	}
	return nil
}

// join joins the network devices to their bridges.
func (s *Service) join(ctx context.Context, vmid id.VM) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	return s.plugAll(vmid, container.Typed(doc.Values))
}

// ended takes down what a container has on the node. Its monitor is still there, and with it
// the mounts, so volumes are let go of later.
func (s *Service) ended(ctx context.Context, vmid id.VM, target string) error {
	faults := []error{s.unplugAll(vmid)}
	doc, err := s.Load(ctx, vmid)
	if err == nil {
		faults = append(faults, s.hookScript(ctx, vmid, doc, hook.PostStop))
	} else {
		faults = append(faults, err)
	}
	if target == rebootTarget {
		faults = append(faults, s.asksReboot(vmid, doc))
	} else {
		faults = append(faults, remove(s.path(vmid, hastyFile)))
	}
	if target == rebootTarget || !s.attended(vmid) {
		argv := append(slices.Clone(s.Hook), afterPhase, vmid.String(), target)
		faults = append(faults, outside(argv, s.Space))
	}
	return errors.Join(faults...)
}

// endPatience is how long LXC may take to clear up after a container, its last hook included.
const endPatience = 60 * time.Second

// after does what has to wait until the monitor has ended, in a process that nobody waits for:
// it lets go of what the container had, or has it started anew.
func (s *Service) after(ctx context.Context, vmid id.VM, target string) error {
	if target == rebootTarget {
		return s.again(ctx, vmid)
	}
	ctx, stop := bounded(ctx, endPatience, fmt.Sprintf("the end of CT %d", vmid))
	defer stop()
	if err := lxc.Gone(ctx, s.LXCPath(), vmid.String()); err != nil {
		return err
	}
	return s.Locked(ctx, vmid, fmt.Sprintf("end of CT %d", vmid), func(ctx context.Context) error {
		running, err := s.Running(ctx, vmid)
		if err != nil || running {
			return err
		}
		doc, err := s.Load(ctx, vmid)
		err = errors.Join(err, s.letGo(ctx, vmid, doc))
		if _, failed := os.Stat(s.path(vmid, faultFile)); failed != nil {
			err = errors.Join(err, remove(s.path(vmid, saidFile))) // nobody asks for it
		}
		return err
	})
}

// letGo clears up after a container that has ended, and deactivates its volumes.
func (s *Service) letGo(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	err := s.Clear(ctx, vmid)
	if doc == nil {
		return err
	}
	volumes, failed := volumesOf(container.Typed(doc.Values))
	if failed == nil {
		failed = s.Storage.DeactivateVolumes(ctx, "", volumes...)
	}
	return errors.Join(err, failed)
}
