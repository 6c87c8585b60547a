package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func (s *Service) statusMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "index", Verb: "GET", Path: "/nodes/{node}/storage",
			Doc: "Tell how the storages of a node are doing.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{User: "all", Described: true},
		}, s.statuses),
		api.New(api.Method{
			Name: "read_status", Verb: "GET", Path: "/nodes/{node}/storage/{storage}/status",
			Doc: "Tell how a storage is doing.", ProxyTo: "node", Protected: true, Permissions: look(),
		}, s.status),
	}
}

type statusesRequest struct {
	Node    id.Node     `pve:"node"`
	Content *string     `pve:"content" format:"pve-storage-content-list" doc:"Only storages used for one of these."`
	Enabled *bool       `pve:"enabled" default:"0" doc:"Only storages that are not disabled."`
	Format  *bool       `pve:"format" default:"0" doc:"Tell the formats of images too."`
	Storage *id.Storage `pve:"storage"`
	Target  *id.Node    `pve:"target" doc:"Only storages that this node has too."`
}

// A state is how a storage is doing.
type state struct {
	Active  bool    `pve:"active"`
	Avail   int64   `pve:"avail" renderer:"bytes"`
	Content string  `pve:"content" format:"pve-storage-content-list"`
	Enabled bool    `pve:"enabled"`
	Error   *string `pve:"error" doc:"Why an enabled storage is not active."`
	Shared  bool    `pve:"shared"`
	Total   int64   `pve:"total" renderer:"bytes"`
	Type    string  `pve:"type"`
	Used    int64   `pve:"used" renderer:"bytes"`
}

// A line is a state in a list.
type line struct {
	state
	Formats        *formats   `pve:"formats"`
	SelectExisting *bool      `pve:"select_existing"`
	Storage        id.Storage `pve:"storage"`
	Fraction       *float64   `pve:"used_fraction" renderer:"fraction_as_percentage"`
}

// formats are those that images on a storage can have.
type formats struct {
	Default   string   `pve:"default" enum:"qcow2|raw|subvol|vmdk"`
	Supported []string `pve:"supported"`
}

func (s *Service) statuses(ctx context.Context, req statusesRequest) ([]line, error) {
	if req.Storage != nil {
		if _, err := s.Storage.Lookup(ctx, *req.Storage); err != nil {
			return nil, api.BadParam("storage", "No such storage.")
		}
	}
	found, err := s.Storage.Statuses(ctx, func(d storage.Definition) bool { return req.wants(d, s.Node) })
	if err != nil {
		return nil, err
	}
	all := make([]line, 0, len(found))
	for _, st := range found {
		if st.Err != nil {
			fmt.Fprintln(api.StreamsOf(ctx).Err, st.Err)
		}
		one := line{state: describeState(st), Storage: st.ID}
		if st.Active && st.Total > 0 {
			one.Fraction = new(float64(st.Used) / float64(st.Total))
		}
		if req.Format != nil && *req.Format {
			usual, supported, err := s.Storage.DefaultFormat(ctx, st.ID)
			if err != nil {
				return nil, err
			}
			one.Formats = &formats{Default: usual, Supported: supported}
			if s.Storage.SelectExisting(st.Type) {
				one.SelectExisting = new(true)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// wants tells whether a storage is asked for, on a node.
func (r statusesRequest) wants(d storage.Definition, node id.Node) bool {
	switch {
	case r.Storage != nil && d.ID != *r.Storage:
		return false
	case r.Enabled != nil && *r.Enabled && (d.Disabled || !d.On(node)):
		return false
	case r.Target != nil && *r.Target != node && (!d.Shared || !d.On(node) || !d.On(*r.Target)):
		return false
	case r.Content == nil:
		return true
	}
	return slices.ContainsFunc(schema.SplitList(*r.Content), func(c string) bool { return d.Has(storage.Content(c)) })
}

func describeState(st storage.StorageStatus) state {
	var contents []string
	for _, c := range st.Content {
		contents = append(contents, string(c))
	}
	one := state{
		Active: st.Active, Enabled: st.Enabled, Content: strings.Join(contents, ","), Shared: st.Shared, Type: st.Type,
		Avail: st.Available, Total: st.Total, Used: st.Used,
	}
	if st.Err != nil {
		one.Error = new(st.Err.Error())
	}
	return one
}

func (s *Service) status(ctx context.Context, req target) (state, error) {
	if _, err := s.Storage.EnabledOn(ctx, req.Storage, s.Node); err != nil {
		if d, known := s.Storage.Lookup(ctx, req.Storage); known != nil || !d.Disabled {
			return state{}, err
		}
	}
	found, err := s.Storage.Statuses(ctx, func(d storage.Definition) bool { return d.ID == req.Storage })
	if err != nil {
		return state{}, err
	}
	return describeState(found[0]), nil
}
