package volumes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Reassign says which volume goes to which container.
type Reassign struct {
	VM           id.VM
	Key          string
	Target       id.VM
	TargetKey    string
	Digest       *string
	TargetDigest *string
	// Attach, which may be nil, gives a container that runs a mount point, under a lock that
	// it takes; without it the mount point waits for the next start.
	Attach func(ctx context.Context, vmid id.VM, key, value string) error
}

// A handover is a volume that can go to another container.
type handover struct {
	source, target *config.Doc
	point          container.Point
}

// CheckReassign returns why a volume cannot go to the other container. It touches nothing.
func (s *Service) CheckReassign(ctx context.Context, o Reassign) error {
	_, err := s.handover(ctx, o)
	return err
}

//nolint:staticcheck // the texts are upstream's
func (s *Service) handover(ctx context.Context, o Reassign) (h handover, err error) {
	switch {
	case o.Key == container.Root || o.TargetKey == container.Root:
		return h, errors.New("Cannot move to/from 'rootfs'")
	case guest.IsUnused(o.Key) && !guest.IsUnused(o.TargetKey):
		return h, errors.New("Moving an unused volume to a used one is not possible")
	}
	if err := s.sameNode(ctx, o); err != nil {
		return h, err
	}
	if h.source, err = s.loadFree(ctx, o.VM); err != nil {
		return h, err
	}
	h.target = h.source
	if o.Target != o.VM {
		if h.target, err = s.loadFree(ctx, o.Target); err != nil {
			return h, err
		}
	}
	if guest.IsTemplate(h.source) || guest.IsTemplate(h.target) {
		return h, errors.New("Can't move volumes from or to template CT")
	}
	if err := checkDigest(h.source, o.Digest); err != nil {
		return h, fmt.Errorf("Container %s: %w", o.VM, err)
	}
	if err := checkDigest(h.target, o.TargetDigest); err != nil {
		return h, fmt.Errorf("Container %s: %w", o.Target, err)
	}
	text, ok := h.source.Values[o.Key]
	if !ok {
		return h, fmt.Errorf("volume '%s' for container '%s' does not exist", o.Key, o.VM)
	}
	if _, taken := h.target.Values[o.TargetKey]; taken {
		return h, fmt.Errorf("Target volume key '%s' is already in use for container '%s'", o.TargetKey, o.Target)
	}
	if h.point, err = container.ParsePoint(o.Key, text); err != nil {
		return h, err
	}
	return h, s.checkHandover(ctx, o, h)
}

// loadFree reads the configuration of a container that is not locked.
func (s *Service) loadFree(ctx context.Context, vmid id.VM) (*config.Doc, error) {
	doc, err := s.Load(ctx, vmid)
	if err == nil {
		err = guest.CheckLock(cluster.Container, doc)
	}
	return doc, err
}

// sameNode checks that both containers are there, on this node.
func (s *Service) sameNode(ctx context.Context, o Reassign) error {
	source, err := s.Cluster.Find(ctx, o.VM)
	switch {
	case errors.Is(err, cluster.ErrNoGuest):
		return fmt.Errorf("could not find CT %s", o.VM)
	case err != nil:
		return err
	}
	target, err := s.Cluster.Find(ctx, o.Target)
	switch {
	case errors.Is(err, cluster.ErrNoGuest):
		return fmt.Errorf("could not find CT %s", o.Target)
	case err != nil:
		return err
	case source.Node != target.Node:
		return fmt.Errorf("Both containers need to be on the same node (%s != %s)", source.Node, target.Node) //nolint:staticcheck // upstream's text
	}
	return nil
}

//nolint:staticcheck // the texts are upstream's
func (s *Service) checkHandover(ctx context.Context, o Reassign, h handover) error {
	switch {
	case h.point.Volume == "":
		return fmt.Errorf("Volume '%s' has no associated image", o.Key)
	case inSnapshot(h.source, h.point.Volume):
		return errors.New("Cannot move volume used by a snapshot to another container")
	case h.point.Kind() != container.VolumeSource:
		return errors.New("Cannot move a bindmount or device mount to another container")
	}
	v, err := id.ParseVolume(h.point.Volume)
	if err != nil {
		return err
	}
	able, err := s.Storage.Has(ctx, storage.FeatureRename, v, "")
	switch {
	case err != nil:
		return err
	case !able:
		return errors.New("Storage does not support moving of this disk to another container")
	}
	running, err := s.Running(ctx, o.VM)
	if err == nil && running && !guest.IsUnused(o.Key) {
		err = errors.New("Cannot move in-use volume while the source CT is running - detach or shutdown first")
	}
	return err
}

// Reassign gives a volume to another container, or to another mount point of the same one.
// It gets a name that says so.
func (s *Service) Reassign(ctx context.Context, o Reassign) error {
	if o.VM == o.Target {
		return s.Locked(ctx, o.VM, "move "+o.Key, func(ctx context.Context) error { return s.rename(ctx, o) })
	}
	lock := file.LockOptions{Patience: reassignPatience, What: fmt.Sprintf("move %s of CT %s to CT %s", o.Key, o.VM, o.Target)}
	locks := map[id.VM]*file.Lock{}
	// In one order, so that two the other way round do not wait for each other.
	for _, vmid := range []id.VM{min(o.VM, o.Target), max(o.VM, o.Target)} {
		l, err := s.Cluster.LockGuest(ctx, cluster.Container, vmid, lock)
		if err != nil {
			return err
		}
		defer l.Release() //nolint:errcheck // closing a lock file cannot lose anything
		locks[vmid] = l
	}
	h, err := s.handover(ctx, o)
	if err != nil {
		return err
	}
	running, err := s.Running(ctx, o.Target)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // it is short, and half of it is worse
	undo := undoList(ctx)
	defer undo.Fail()
	if err := s.release(ctx, o, &h, undo); err != nil {
		return err
	}
	if err := s.hand(ctx, o, h, running); err != nil {
		return err
	}
	undo.Success()
	if running && o.Attach != nil && !guest.IsUnused(o.TargetKey) {
		if err := locks[o.Target].Release(); err != nil {
			return err
		}
		if err := o.Attach(ctx, o.Target, o.TargetKey, h.point.Value()); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	tell(ctx, "target container '%s' updated with '%s'\n", o.Target, o.TargetKey)
	return nil
}

// reassignPatience is how long it waits for another command on one of the containers.
const reassignPatience = 10 * time.Second

// rename gives a volume another key of its container.
func (s *Service) rename(ctx context.Context, o Reassign) error {
	h, err := s.handover(ctx, o)
	if err != nil {
		return err
	}
	tell(ctx, "moving volume '%s' from container '%s' to '%s'\n", o.Key, o.VM, o.Target)
	delete(h.source.Values, o.Key)
	tell(ctx, "removing volume '%s' from container '%s' config\n", o.Key, o.VM)
	h.point.Key = o.TargetKey
	h.source.Values[o.TargetKey] = h.point.Value()
	if err := s.Save(ctx, o.VM, h.source); err != nil {
		return err
	}
	tell(ctx, "target container '%s' updated with '%s'\n", o.Target, o.TargetKey)
	return nil
}

// release takes a volume away from its container.
func (s *Service) release(ctx context.Context, o Reassign, h *handover, undo *revert.List) error {
	tell(ctx, "moving volume '%s' from container '%s' to '%s'\n", o.Key, o.VM, o.Target)
	v, err := id.ParseVolume(h.point.Volume)
	if err != nil {
		return err
	}
	renamed, err := s.Storage.Rename(ctx, v, o.Target, "")
	if err != nil {
		return err
	}
	undo.Add("give "+renamed.String()+" back", func(ctx context.Context) error {
		n, err := s.Storage.Parse(ctx, v)
		if err == nil {
			_, err = s.Storage.Rename(ctx, renamed, o.VM, n.File)
		}
		return err
	})
	before := h.source.Clone()
	delete(h.source.Values, o.Key)
	tell(ctx, "removing volume '%s' from container '%s' config\n", o.Key, o.VM)
	if err := s.Save(ctx, o.VM, h.source); err != nil {
		return err
	}
	undo.Add("write the configuration of CT "+o.VM.String(), func(ctx context.Context) error { return s.Save(ctx, o.VM, before) })
	h.point.Volume, h.point.Key = renamed.String(), o.TargetKey
	return nil
}

// hand notes a volume with its new container, whose lock is held. In one that runs it is
// pending, so that it is nowhere lost when it cannot be mounted there now.
func (s *Service) hand(ctx context.Context, o Reassign, h handover, running bool) error {
	value := h.point.Value()
	if running && !guest.IsUnused(o.TargetKey) {
		guest.AddPending(h.target, o.TargetKey, value)
	} else {
		h.target.Values[o.TargetKey] = value
	}
	return s.Save(ctx, o.Target, h.target)
}
