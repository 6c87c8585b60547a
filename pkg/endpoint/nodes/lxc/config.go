package lxc

import (
	"context"
	"fmt"
	"maps"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func (s *Service) configMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "vm_config", Verb: "GET", Path: "/nodes/{node}/lxc/{vmid}/config",
			Doc: "Show the configuration of a container, with what is pending applied.", ProxyTo: "node", Permissions: auditCT(),
		}, s.config),
		api.New(api.Method{
			Name: "vm_pending", Verb: "GET", Path: "/nodes/{node}/lxc/{vmid}/pending",
			Doc: "Show the configuration of a container beside what is pending.", ProxyTo: "node", Permissions: auditCT(),
		}, s.pending),
	}
}

type configRequest struct {
	target
	Current  *bool        `pve:"current" doc:"Show what holds now, without what is pending." default:"0"`
	Snapshot *id.Snapshot `pve:"snapshot" doc:"Show the configuration kept in this snapshot."`
}

// configShape is a configuration and what tells whether it has changed since.
type configShape struct {
	Digest string     `pve:"digest" doc:"SHA-1 of the configuration file." maxlen:"64"`
	LXC    [][]string `pve:"lxc" doc:"Lines for LXC, each a key and a value."`
	container.Config
}

type configReply = schema.Texts[configShape]

func (s *Service) config(ctx context.Context, req configRequest) (configReply, error) {
	if req.Snapshot != nil && is(req.Current) {
		const both = "cannot use 'snapshot' parameter with 'current'"
		return configReply{}, api.ParamError(schema.Faults{"snapshot": both, "current": both})
	}
	doc, err := s.CTs.Load(ctx, req.VMID)
	if err != nil {
		return configReply{}, err
	}
	values := doc.Values
	switch {
	case req.Snapshot != nil:
		snap, ok := doc.Snapshots[string(*req.Snapshot)]
		if !ok {
			return configReply{}, fmt.Errorf("snapshot '%s' does not exist", *req.Snapshot)
		}
		values = snap
	case !is(req.Current):
		values = guest.Merged(doc)
	}
	r := reply(values)
	r.Params["digest"] = doc.Digest
	return r, nil
}

// reply makes an answer of values.
func reply(values schema.Params) configReply {
	r := configReply{Params: maps.Clone(values)}
	if lines := container.RawLines(values); lines != nil {
		var pairs []any
		for _, line := range lines {
			pairs = append(pairs, []any{line.Key, line.Value})
		}
		r.More = map[string]any{"lxc": pairs}
	}
	delete(r.Params, config.RawKey)
	return r
}

// pendingItem is one option and what is pending of it.
type pendingItem struct {
	Delete  *int    `pve:"delete" doc:"1 where the option will be gone, 2 where by force." min:"0" max:"2"`
	Key     string  `pve:"key" doc:"Name of the option."`
	Pending *string `pve:"pending" doc:"What the option will be."`
	Value   *string `pve:"value" doc:"What the option is."`
}

func (s *Service) pending(ctx context.Context, req target) ([]pendingItem, error) {
	doc, err := s.CTs.Load(ctx, req.VMID)
	if err != nil {
		return nil, err
	}
	var items []pendingItem
	for _, change := range guest.Changes(doc) {
		if change.Key == config.RawKey {
			continue
		}
		item := pendingItem{Key: change.Key, Value: change.Value, Pending: change.Pending}
		switch {
		case change.Force:
			item.Delete = new(2)
		case change.Delete:
			item.Delete = new(1)
		}
		items = append(items, item)
	}
	return items, nil
}
