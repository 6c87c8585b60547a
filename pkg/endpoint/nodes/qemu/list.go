package qemu

import (
	"context"
	"errors"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/status"
)

func (s *Service) listMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "vmlist", Verb: "GET", Path: "/nodes/{node}/qemu",
			Doc: "List the VMs of a node.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{User: "all", Described: true},
		}, s.list),
		api.New(api.Method{
			Name: "vm_status", Verb: "GET", Path: "/nodes/{node}/qemu/{vmid}/status/current",
			Doc: "Tell how a VM is doing.", ProxyTo: "node", Protected: true, Permissions: auditVM(),
		}, s.current),
		api.New(api.Method{
			Name: "status", Doc: "Tell whether a VM runs.", ReadOnly: true,
		}, s.status),
	}
}

type listRequest struct {
	Node id.Node `pve:"node"`
	Full *bool   `pve:"full" doc:"Ask running VMs for their full status."`
}

func (s *Service) list(ctx context.Context, req listRequest) ([]status.Status, error) {
	guests, err := s.VMs.Cluster.LocalGuests(ctx, cluster.VM)
	if err != nil {
		return nil, err
	}
	all := make([]status.Status, len(guests))
	err = api.InParts(ctx, len(guests), func(ctx context.Context, first, last int) error {
		return s.listPart(ctx, guests[first:last], all[first:last], req.Full != nil && *req.Full)
	})
	return slices.DeleteFunc(all, func(st status.Status) bool { return st.VMID == 0 }), err
}

// listPart puts how the guests are doing into all. One that is gone before we look
// leaves its place empty. Of one whose configuration cannot be read only the processes
// tell: it must not hide the others.
func (s *Service) listPart(ctx context.Context, guests []cluster.Guest, all []status.Status, full bool) error {
	for i, g := range guests {
		st, err := s.statusOf(ctx, g.ID, full)
		switch {
		case errors.Is(err, cluster.ErrNoGuest): // it has just been removed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			api.Warnf(ctx, "VM %d: %v", g.ID, err)
			if st, err = status.Of(g.ID, nil, s.VMs.Dir, s.VMs.Now()); err != nil {
				return err
			}
			all[i] = *st
		default:
			all[i] = *st
		}
	}
	return nil
}

// statusOf tells how one VM is doing. A monitor that does not answer leaves what is
// known without it.
func (s *Service) statusOf(ctx context.Context, vmid id.VM, full bool) (*status.Status, error) {
	doc, err := s.VMs.Load(ctx, vmid)
	if err != nil {
		return nil, err
	}
	st, err := status.Of(vmid, doc.Values, s.VMs.Dir, s.VMs.Now())
	if err != nil {
		return nil, err
	}
	if full {
		if err := st.Ask(ctx, s.VMs.Dir); err != nil {
			api.Warnf(ctx, "VM %d: %v", vmid, err)
		}
	}
	return st, nil
}

func (s *Service) current(ctx context.Context, req target) (*status.Status, error) {
	return s.statusOf(ctx, req.VMID, true)
}

type statusRequest struct {
	local
	Verbose *bool `pve:"verbose" doc:"Tell all that is known of the VM."`
}

func (s *Service) status(ctx context.Context, req statusRequest) (*status.Status, error) {
	return s.statusOf(ctx, req.VMID, true)
}
