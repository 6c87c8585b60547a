package disks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Reassign says which disk goes to which VM.
type Reassign struct {
	VM           id.VM
	Key          string
	Target       id.VM
	TargetKey    string
	Digest       *string
	TargetDigest *string
	// Attach gives the target VM a drive with the given value, under its lock.
	Attach func(ctx context.Context, vmid id.VM, key, value string) error
}

// A handover is a disk that can go to another VM.
type handover struct {
	source, target *config.Doc
	drive          qemu.Drive
}

// CheckReassign returns why a disk cannot go to the other VM. It touches nothing.
func (s *Service) CheckReassign(ctx context.Context, o Reassign) error {
	if o.VM == o.Target {
		return api.BadParam("target-vmid", "must be different than source VMID to reassign disk")
	}
	_, err := s.handover(ctx, o)
	return err
}

func (s *Service) handover(ctx context.Context, o Reassign) (h handover, err error) {
	if err := s.sameNode(ctx, o); err != nil {
		return h, err
	}
	if h.source, err = s.Load(ctx, o.VM); err != nil {
		return h, err
	}
	if err := guest.CheckLock(cluster.VM, h.source); err != nil {
		return h, err
	}
	if h.target, err = s.Load(ctx, o.Target); err != nil {
		return h, err
	}
	if err := guest.CheckLock(cluster.VM, h.target); err != nil {
		return h, err
	}
	if guest.IsTemplate(h.source) || guest.IsTemplate(h.target) {
		return h, errors.New("Can't move disks from or to template VMs") //nolint:staticcheck // upstream's text
	}
	if err := guest.CheckDigest(h.source, o.Digest); err != nil {
		return h, fmt.Errorf("VM %s: %w", o.VM, err)
	}
	if err := guest.CheckDigest(h.target, o.TargetDigest); err != nil {
		return h, fmt.Errorf("VM %s: %w", o.Target, err)
	}
	text, ok := h.source.Values[o.Key]
	if !ok {
		return h, fmt.Errorf("Disk '%s' for VM '%s' does not exist", o.Key, o.VM) //nolint:staticcheck // upstream's text
	}
	if _, taken := h.target.Values[o.TargetKey]; taken {
		return h, fmt.Errorf("Target disk key '%s' is already in use for VM '%s'", o.TargetKey, o.Target) //nolint:staticcheck // upstream's text
	}
	d, err := qemu.ParseDrive(o.Key, text)
	if err != nil {
		return h, fmt.Errorf("failed to parse source disk - %w", err)
	}
	if err := s.checkHandover(ctx, o, h.source, d); err != nil {
		return h, err
	}
	h.drive, err = asOther(d, text, o.TargetKey)
	return h, err
}

// sameNode checks that both VMs are there, on this node.
func (s *Service) sameNode(ctx context.Context, o Reassign) error {
	source, err := s.Cluster.Find(ctx, o.VM)
	switch {
	case errors.Is(err, cluster.ErrNoGuest):
		return fmt.Errorf("could not find VM %s", o.VM)
	case err != nil:
		return err
	}
	target, err := s.Cluster.Find(ctx, o.Target)
	switch {
	case errors.Is(err, cluster.ErrNoGuest):
		return fmt.Errorf("could not find target VM %s", o.Target)
	case err != nil:
		return err
	case source.Node != target.Node:
		return fmt.Errorf("Both VMs need to be on the same node (%s != %s)", source.Node, target.Node) //nolint:staticcheck // upstream's text
	}
	return nil
}

// asOther returns a drive as another key has it: some options are of one bus only.
func asOther(d qemu.Drive, text, key string) (qemu.Drive, error) {
	if qemu.KindOfDrive(key) == qemu.UnusedDisks {
		text = d.File
	}
	other, err := qemu.ParseDrive(key, text)
	if err != nil {
		return d, fmt.Errorf("failed to parse source disk for target disk format - %w", err)
	}
	return other, nil
}

func (s *Service) checkHandover(ctx context.Context, o Reassign, source *config.Doc, d qemu.Drive) error {
	switch {
	case d.IsDisc() || none(d.File):
		return errors.New("CD drive contents can't be moved to another VM")
	case d.Volume() == "":
		return fmt.Errorf("Volume '%s' not managed by PVE", d.File) //nolint:staticcheck // upstream's text
	case inSnapshot(source, d.File):
		return errors.New("Can't move disk used by a snapshot to another VM") //nolint:staticcheck // upstream's text
	}
	v, err := id.ParseVolume(d.File)
	if err != nil {
		return err
	}
	able, err := s.Storage.Has(ctx, storage.FeatureRename, v, "")
	switch {
	case err != nil:
		return err
	case !able:
		return errors.New("Storage does not support moving of this disk to another VM") //nolint:staticcheck // upstream's text
	}
	running, err := s.Running(o.VM)
	if err == nil && running && d.Bus != "unused" {
		err = errors.New("Cannot move disk to another VM while the source VM is running - detach first") //nolint:staticcheck // upstream's text
	}
	return err
}

// Reassign gives a disk to another VM. Its volume gets a name that says so.
func (s *Service) Reassign(ctx context.Context, o Reassign) error {
	lock := file.LockOptions{Patience: movePatience, What: fmt.Sprintf("move %s of VM %s to VM %s", o.Key, o.VM, o.Target)}
	locks := map[id.VM]*file.Lock{}
	// In one order, so that two the other way round do not wait for each other.
	for _, vmid := range []id.VM{min(o.VM, o.Target), max(o.VM, o.Target)} {
		l, err := s.Cluster.LockGuest(ctx, cluster.VM, vmid, lock)
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
	ctx = context.WithoutCancel(ctx) // it is short, and half of it is worse
	undo := undoList(ctx)
	defer undo.Fail()
	if err := s.release(ctx, o, &h, undo); err != nil {
		return err
	}
	// The change of the target takes its lock itself.
	if err := s.attach(ctx, o, h, locks[o.Target]); err != nil {
		return err
	}
	undo.Success()
	return nil
}

// release takes a disk away from its VM.
func (s *Service) release(ctx context.Context, o Reassign, h *handover, undo *revert.List) error {
	tell(ctx, "reassign disk '%s' from VM '%s' as '%s' to VM '%s'\n", o.Key, o.VM, o.TargetKey, o.Target)
	v, err := id.ParseVolume(h.drive.File)
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
	s.forget(ctx, h.source, o.Key)
	tell(ctx, "removing disk '%s' from VM '%s' config\n", o.Key, o.VM)
	if err := s.Save(ctx, o.VM, h.source); err != nil {
		return err
	}
	undo.Add("write the configuration of VM "+o.VM.String(), func(ctx context.Context) error { return s.Save(ctx, o.VM, before) })
	h.drive.File = renamed.String()
	return nil
}

// attach gives a disk to its new VM, whose lock is held.
func (s *Service) attach(ctx context.Context, o Reassign, h handover, held *file.Lock) error {
	value := qemu.PrintDrive(h.drive)
	if qemu.KindOfDrive(o.TargetKey) == qemu.UnusedDisks || o.Attach == nil {
		h.target.Values[o.TargetKey] = value
		return s.Save(ctx, o.Target, h.target)
	}
	if err := held.Release(); err != nil {
		return err
	}
	return o.Attach(ctx, o.Target, o.TargetKey, value)
}

// forget takes a disk out of a configuration, its boot order included.
func (s *Service) forget(ctx context.Context, doc *config.Doc, key string) {
	order := vm.Typed(doc.Values).BootOrder()
	_, boots := order[key]
	delete(doc.Values, key)
	if !boots {
		return
	}
	delete(order, key)
	tell(ctx, "removing disk '%s' from boot order config\n", key)
	devices := slices.SortedFunc(maps.Keys(order), func(a, b string) int { return order[a] - order[b] })
	doc.Values["boot"] = ""
	if len(devices) > 0 {
		doc.Values["boot"] = "order=" + strings.Join(devices, ";")
	}
}
