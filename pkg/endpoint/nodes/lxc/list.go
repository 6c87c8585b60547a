package lxc

import (
	"context"
	"errors"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container/status"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) listMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "vmlist", Verb: "GET", Path: "/nodes/{node}/lxc",
			Doc: "List the containers of a node.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{User: "all", Described: true},
		}, s.list),
		api.New(api.Method{
			Name: "vm_status", Verb: "GET", Path: "/nodes/{node}/lxc/{vmid}/status/current",
			Doc: "Tell how a container is doing.", ProxyTo: "node", Protected: true, Permissions: auditCT(),
		}, s.current),
		api.New(api.Method{Tool: tool, Name: "status", Doc: "Tell whether a container runs.", ReadOnly: true}, s.status),
	}
}

type listRequest struct {
	Node id.Node `pve:"node"`
}

func (s *Service) list(ctx context.Context, _ listRequest) ([]status.Status, error) {
	guests, err := s.CTs.Cluster.LocalGuests(ctx, cluster.Container)
	if err != nil {
		return nil, err
	}
	active, err := s.CTs.Active(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]status.Status, len(guests))
	err = api.InParts(ctx, len(guests), func(ctx context.Context, first, last int) error {
		return s.listPart(ctx, guests[first:last], all[first:last], active)
	})
	return slices.DeleteFunc(all, func(st status.Status) bool { return st.VMID == 0 }), err
}

// listPart puts how the containers are doing into all. One that is gone before we look leaves
// its place empty. One whose configuration cannot be read must not hide the others.
func (s *Service) listPart(ctx context.Context, guests []cluster.Guest, all []status.Status, active map[string]bool) error {
	for i, g := range guests {
		doc, err := s.CTs.Load(ctx, g.ID)
		switch {
		case errors.Is(err, cluster.ErrNoGuest): // it has just been removed
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			api.Warnf(ctx, "CT %d: %v", g.ID, err)
			all[i] = *status.Of(g.ID, nil, active[g.ID.String()])
			continue
		}
		st := status.Of(g.ID, doc.Values, active[g.ID.String()])
		if st.Running() {
			s.measure(ctx, st)
		}
		all[i] = *st
	}
	return nil
}

// measure fills in what a running container uses. What the kernel does not tell of one
// that is just ending is left out.
func (s *Service) measure(ctx context.Context, st *status.Status) {
	var groups *cgroup.Tree
	if s.Groups != nil {
		groups, _ = s.Groups()
	}
	if err := st.Measure(ctx, s.CTs, groups, "/proc"); err != nil {
		api.Warnf(ctx, "CT %d: %v", st.VMID, err)
	}
}

// statusOf tells how one container is doing.
func (s *Service) statusOf(ctx context.Context, vmid id.VM) (*status.Status, error) {
	doc, err := s.CTs.Load(ctx, vmid)
	if err != nil {
		return nil, err
	}
	running, err := s.CTs.Running(ctx, vmid)
	if err != nil {
		return nil, err
	}
	st := status.Of(vmid, doc.Values, running)
	s.measure(ctx, st)
	return st, nil
}

func (s *Service) current(ctx context.Context, req target) (*status.Status, error) {
	return s.statusOf(ctx, req.VMID)
}

type statusRequest struct {
	local
	Verbose *bool `pve:"verbose" doc:"Tell all that is known of the container."`
}

func (s *Service) status(ctx context.Context, req statusRequest) (*status.Status, error) {
	return s.statusOf(ctx, req.VMID)
}
