package edit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Creation is a VM to be made.
type Creation struct {
	VM      id.VM
	Values  schema.Params // the options, as given; left as they are
	Storage id.Storage    // for new volumes that name none; may be empty
	BWLimit *int          // for copies, in KiB/s; nil for what the storages say
	Pool    string        // to be a member of; may be empty
	Start   bool          // once it is made
}

// CheckCreate tells what is wrong with a VM to be made, and touches nothing.
func (s *Service) CheckCreate(ctx context.Context, c Creation) error {
	if _, err := s.settled(ctx, c); err != nil {
		return err
	}
	return c.wrap(s.Cluster.CheckFree(ctx, c.VM))
}

// wrap says what did not work.
func (c Creation) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("unable to create VM %d - %w", c.VM, err)
}

// settled returns the options of c as they are kept.
func (s *Service) settled(ctx context.Context, c Creation) (schema.Params, error) {
	if err := s.checkPool(ctx, c.Pool); err != nil {
		return nil, err
	}
	values := maps.Clone(c.Values)
	set := settler{Service: s, vmid: c.VM, values: values, storage: c.Storage, ostype: values["ostype"]}
	if err := set.settle(ctx); err != nil {
		return nil, err
	}
	return values, nil
}

func (s *Service) checkPool(ctx context.Context, pool string) error {
	if pool == "" {
		return nil
	}
	r, err := access.Load(ctx, s.Cluster)
	if err == nil && !r.HasPool(pool) {
		err = &api.Error{Status: http.StatusForbidden, Message: fmt.Sprintf("Permission check failed (pool '%s' does not exist)", pool)}
	}
	return err
}

// Create makes a VM. When it fails, nothing of it is left.
func (s *Service) Create(ctx context.Context, c Creation) error {
	values, err := s.settled(ctx, c)
	if err != nil {
		return err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	if err := s.create(ctx, c, values, undo); err != nil {
		return c.wrap(err)
	}
	undo.Success()
	if !c.Start {
		return nil
	}
	return s.Start(ctx, c.VM)
}

func (s *Service) create(ctx context.Context, c Creation, values schema.Params, undo *revert.List) error {
	if err := s.reserve(ctx, c.VM, undo); err != nil {
		return err
	}
	// The lock in the file keeps others off meanwhile: copying may take hours.
	made, err := s.Disks.Make(ctx, disks.Request{
		VMID: c.VM, Drives: driveValues(values), Values: values, Storage: c.Storage, BWLimit: c.BWLimit,
	}, undo)
	if err != nil {
		return err
	}
	maps.Copy(values, made)
	if err := s.complete(ctx, values); err != nil {
		return err
	}
	if err := s.Change(ctx, c.VM, "creation of "+c.VM.String(), func(_ context.Context, doc *config.Doc) error {
		if doc.Values["lock"] != lockCreate {
			return errors.New("its lock was taken away meanwhile")
		}
		doc.Values = values
		return nil
	}); err != nil {
		return err
	}
	return s.join(ctx, c)
}

// lockCreate is the lock of a VM that is being made.
const lockCreate = "create"

// reserve takes the number of the VM.
func (s *Service) reserve(ctx context.Context, vmid id.VM, undo *revert.List) error {
	return s.Locked(ctx, vmid, "creation of "+vmid.String(), func(ctx context.Context) error {
		if err := s.Cluster.CheckFree(ctx, vmid); err != nil {
			return err
		}
		undo.Add("remove the configuration", func(ctx context.Context) error {
			return s.Cluster.Remove(ctx, cluster.GuestFile(s.Node, cluster.VM, vmid))
		})
		return s.Save(ctx, vmid, &config.Doc{Values: schema.Params{"lock": lockCreate}})
	})
}

// complete adds what every new VM has.
func (s *Service) complete(ctx context.Context, values schema.Params) error {
	version, err := s.Version(ctx)
	if err != nil {
		return err
	}
	meta := fmt.Sprintf("ctime=%d", s.Now().Unix())
	if version != "" {
		meta = "creation-qemu=" + version + "," + meta
	}
	values["meta"] = meta
	if _, given := values["boot"]; !given {
		values["boot"] = bootOrder(qemu.DefaultBootOrder(values))
	}
	if _, given := values["vmgenid"]; !given && values["arch"] != "aarch64" {
		values["vmgenid"] = s.UUID()
	}
	if _, given := values["smbios1"]; !given {
		values["smbios1"] = "uuid=" + s.UUID()
	}
	s.pin(values, version)
	return nil
}

// pin gives guests that do not take to new hardware the machine type of today.
func (s *Service) pin(values schema.Params, version string) {
	var m qemu.Machine
	if text, given := values["machine"]; given && schema.Parse(text, &m) != nil {
		return
	}
	kind := ""
	if m.Type != nil {
		kind = *m.Type
	}
	if name, changed := cmdline.PinMachine(kind, values["ostype"], values["arch"], version); changed {
		m.Type = &name
		values["machine"] = schema.Print(m)
	}
}

// bootOrder writes a boot order.
func bootOrder(devices []string) string {
	if len(devices) == 0 {
		return ""
	}
	return "order=" + strings.Join(devices, ";")
}

// join makes the VM a member of the pool it was made for.
func (s *Service) join(ctx context.Context, c Creation) error {
	if c.Pool == "" {
		return nil
	}
	return access.Change(ctx, s.Cluster, func(r *access.Rights) error { return r.AddToPool(c.Pool, c.VM) })
}
