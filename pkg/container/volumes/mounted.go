package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// mountLock is what a container is locked for while it is mounted on the host.
const mountLock = "mounted"

// Mount mounts a container that does not run in the folder that LXC has for its root, and
// locks it until [Service.Unmount].
func (s *Service) Mount(ctx context.Context, vmid id.VM) error {
	return s.Locked(ctx, vmid, "mount", func(ctx context.Context) error {
		doc, err := s.loadFree(ctx, vmid)
		if err != nil {
			return err
		}
		running, err := s.Running(ctx, vmid)
		if err != nil {
			return err
		}
		if running {
			return fmt.Errorf("CT %s is running: its files are at /proc/PID/root of its processes, or use 'pct exec'", vmid)
		}
		// The lock first: a mount without it would be in the way of a start.
		if err := s.setLock(ctx, vmid, doc, mountLock); err != nil {
			return err
		}
		if err := s.mountAll(ctx, vmid, doc); err != nil {
			if plan.From(ctx) == nil {
				delete(doc.Values, "lock")
				err = errors.Join(err, s.Save(context.WithoutCancel(ctx), vmid, doc))
			}
			return err
		}
		tell(ctx, "mounted CT %s in '%s'\n", vmid, s.RootDir(vmid))
		return nil
	})
}

func (s *Service) mountAll(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	points, err := s.MountPoints(ctx, container.Typed(doc.Values))
	if err != nil {
		return err
	}
	ids, err := MountIDs(doc.Values)
	if err != nil {
		return err
	}
	if plan.From(ctx) == nil {
		if err := os.MkdirAll(s.RootDir(vmid), 0o755); err != nil {
			return err
		}
	}
	stack, err := s.mounter(ctx).Mount(ctx, s.RootDir(vmid), ids, points)
	if err != nil {
		return err
	}
	stack.Release()
	return nil
}

// Unmount is the inverse of Mount.
func (s *Service) Unmount(ctx context.Context, vmid id.VM) error {
	return s.Locked(ctx, vmid, "unmount", func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		if err := guest.RemoveLock(doc, mountLock); err != nil {
			return err
		}
		if err := s.mounter(ctx).UnmountTree(ctx, s.RootDir(vmid)); err != nil {
			return err
		}
		if err := s.Save(ctx, vmid, doc); err != nil {
			return err
		}
		for _, p := range container.Volumes(doc.Values) {
			v, err := id.ParseVolume(p.ID)
			if err == nil {
				err = s.Storage.DeactivateVolumes(ctx, "", v)
			}
			if err != nil {
				api.Warnf(ctx, "%v", err)
			}
		}
		return nil
	})
}
