package power

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/status"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// SuspendOptions say how a VM is suspended to disk.
type SuspendOptions struct {
	SkipLock bool
	Storage  id.Storage // where its state goes; empty for the usual place
}

// Suspend saves the state of a running VM to a volume and ends its QEMU. The next start
// goes on from there. When it fails, the VM runs on.
func (s *Service) Suspend(ctx context.Context, vmid id.VM, o SuspendOptions) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("suspend of VM %d", vmid), func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		if err := s.checkSuspend(vmid, doc, o); err != nil {
			return err
		}
		if o.Storage == "" {
			o.Storage = s.StateStorage(ctx, doc.Values)
		}
		if p := plan.From(ctx); p != nil {
			p.Stepf("save the state of VM %d to a volume on %s, then end its QEMU", vmid, o.Storage)
			return nil
		}
		return s.suspend(ctx, vmid, doc, o.Storage)
	})
}

func (s *Service) checkSuspend(vmid id.VM, doc *config.Doc, o SuspendOptions) error {
	if !o.SkipLock {
		if err := checkLock(doc); err != nil {
			return err
		}
	}
	if err := s.CheckRunning(vmid); err != nil {
		return err
	}
	conf := vm.Typed(doc.Values)
	const lacks = "which lack the possibility to save/restore their internal state"
	if len(conf.HostPCI) > 0 {
		return errors.New("cannot suspend VM to disk due to passed-through PCI device(s), " + lacks)
	}
	if len(conf.VirtioFS) > 0 {
		return errors.New("cannot suspend VM to disk due to virtiofs device(s), " + lacks)
	}
	return nil
}

// suspend does it. The lock in the configuration tells, should this process die, what
// the VM was at.
func (s *Service) suspend(ctx context.Context, vmid id.VM, doc *config.Doc, storeid id.Storage) (err error) {
	if err := s.forgetStale(ctx, vmid, doc); err != nil {
		return err
	}
	old := maps.Clone(doc.Values)
	state, err := s.AllocState(ctx, vmid, doc.Values, storeid, "suspend-"+s.Now().Format("2006-01-02"))
	if err != nil {
		return err
	}
	saved := false
	defer func() {
		if !saved {
			err = errors.Join(err, s.unsuspend(context.WithoutCancel(ctx), vmid, doc, old, state))
		}
	}()
	machine, cpu, err := s.Hardware(ctx, vmid)
	if err != nil {
		return err
	}
	doc.Values["vmstate"], doc.Values["lock"], doc.Values["runningmachine"] = state.String(), "suspending", machine
	if cpu != "" {
		doc.Values["runningcpu"] = cpu
	}
	if sizes := s.HostMTU(vmid); sizes != "" {
		doc.Values["running-nets-host-mtu"] = sizes
	}
	if err := s.Save(ctx, vmid, doc); err != nil {
		return err
	}
	if err := s.saveTo(ctx, vmid, state); err != nil {
		return err
	}
	api.Printf(ctx, "State saved, quitting\n")
	doc.Values["lock"] = "suspended"
	if err := s.Save(ctx, vmid, doc); err != nil {
		return err
	}
	saved = true // from here on the state is the VM, and the process is not
	if err := s.end(context.WithoutCancel(ctx), vmid); err != nil {
		return err
	}
	return s.Clear(ctx, vmid, "")
}

// saveTo saves the state of a running VM to a volume.
func (s *Service) saveTo(ctx context.Context, vmid id.VM, state id.Volume) error {
	path, err := s.statePath(ctx, state.String())
	if err != nil {
		return err
	}
	m, err := s.Dial(ctx, vmid, "migrate")
	if err != nil {
		return err
	}
	defer m.Close()
	err = SaveState(ctx, m, path, func(p Progress) {
		api.Printf(ctx, "saving state: %d MiB written, %d MiB left\n", p.Transferred>>20, p.Left>>20)
	})
	if err != nil {
		return fmt.Errorf("VM %d: save state: %w", vmid, err)
	}
	return nil
}

// unsuspend lets a VM go on whose state could not be saved.
func (s *Service) unsuspend(ctx context.Context, vmid id.VM, doc *config.Doc, old schema.Params, state id.Volume) error {
	doc.Values = old
	errs := []error{s.Save(ctx, vmid, doc)}
	if running, err := s.Running(vmid); err == nil && running {
		errs = append(errs, s.Call(ctx, vmid, "cont", nil, nil))
	}
	return errors.Join(append(errs, s.freeState(ctx, state.String()))...)
}

// forgetStale removes a state that the VM does not go on from: the command that was to
// save it has died, or its lock was taken away.
func (s *Service) forgetStale(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	stale := doc.Values["vmstate"]
	if stale == "" {
		return nil
	}
	api.Warnf(ctx, "VM %d has a saved state that is not used: removing %s", vmid, stale)
	if plan.From(ctx) != nil {
		return nil
	}
	for _, key := range stateKeys() {
		if key != "lock" {
			delete(doc.Values, key)
		}
	}
	if err := s.Save(ctx, vmid, doc); err != nil {
		return err
	}
	if err := s.freeState(ctx, stale); err != nil {
		api.Warnf(ctx, "removing state: %v", err) // it stays behind, and is in nobody's way
	}
	return nil
}

// stateSpare is room, in MiB, for the state of devices besides memory.
const stateSpare = 500

// AllocState makes a volume that the state of a VM fits in.
func (s *Service) AllocState(ctx context.Context, vmid id.VM, values schema.Params, storeid id.Storage, name string) (id.Volume, error) {
	if err := s.Storage.CheckContent(ctx, storeid, storage.Images); err != nil {
		return id.Volume{}, err
	}
	pool, err := s.Storage.Pool(ctx, storeid)
	if err != nil {
		return id.Volume{}, err
	}
	file := fmt.Sprintf("vm-%d-state-%s", vmid, name)
	if _, err := pool.Parse(fmt.Sprintf("%d/%s.raw", vmid, file)); err == nil {
		file += ".raw" // files have their format in their name
	}
	return s.Storage.Alloc(ctx, storeid, storage.Alloc{
		Guest: vmid, Format: "raw", File: file, Size: (status.Memory(values) + stateSpare) << 10,
	})
}

// StateStorage chooses where the state of a VM is saved: where its configuration says,
// else beside its disks, shared storages first, else on the local storage.
func (s *Service) StateStorage(ctx context.Context, values schema.Params) id.Storage {
	if named := values["vmstatestorage"]; named != "" {
		return id.Storage(named)
	}
	local := id.Storage("")
	for d := range vm.Typed(values).Drives(qemu.Disks) {
		v, err := id.ParseVolume(d.Volume())
		if err != nil || d.IsCDROM() {
			continue
		}
		def, err := s.Storage.Lookup(ctx, v.Storage)
		switch {
		case err != nil:
		case def.Shared:
			return v.Storage
		case local == "":
			local = v.Storage
		}
	}
	if local != "" {
		return local
	}
	return "local"
}
