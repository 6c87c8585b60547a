// Package storage has the methods below /storage: which storages the cluster has.
package storage

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Service serves the storages of a cluster.
type Service struct {
	Storage *storage.Service
	Cluster *cluster.Client
}

const onePath = "/storage/{storage}"

// Methods declares what s serves.
func (s *Service) Methods() []api.Method {
	allocate := api.Permissions{Check: api.Perm("/storage", "Datastore.Allocate")}
	return []api.Method{
		api.NewOpen(api.Method{
			Name: "index", Verb: "GET", Path: "/storage", Doc: "List the storages of the cluster.",
			Permissions: api.Permissions{User: "all", Described: true},
		}, s.listSchema, s.list),
		api.NewOpen(api.Method{
			Name: "create", Verb: "POST", Path: "/storage", Doc: "Define a storage.",
			Protected: true, Permissions: allocate,
		}, s.createSchema, s.create),
		api.New(api.Method{
			Name: "read", Verb: "GET", Path: onePath, Doc: "Show how a storage is defined.",
			Permissions: api.Permissions{Check: api.Perm(onePath, "Datastore.Allocate")},
		}, s.read),
		api.NewOpen(api.Method{
			Name: "update", Verb: "PUT", Path: onePath, Doc: "Change how a storage is defined.",
			Protected: true, Permissions: allocate,
		}, s.updateSchema, s.update),
		api.New(api.Method{
			Name: "delete", Verb: "DELETE", Path: onePath, Doc: "Forget a storage, and leave what lies on it.",
			Protected: true, Permissions: allocate,
		}, s.remove),
	}
}

func (s *Service) listSchema() *schema.Schema {
	kind := *s.createSchema().Properties["type"]
	kind.Optional, kind.Description = true, "Only storages of this type."
	return &schema.Schema{Type: "object", Properties: map[string]*schema.Schema{"type": &kind}}
}

func (s *Service) list(ctx context.Context, p schema.Params) ([]map[string]any, error) {
	c, err := s.Storage.Config(ctx)
	if err != nil {
		return nil, err
	}
	all := []map[string]any{}
	sections := s.Storage.Sections()
	for _, d := range c.Storages {
		if kind, given := p["type"]; !given || d.Type == kind {
			all = append(all, section(sections, d, c.Digest))
		}
	}
	return all, nil
}

// section is a definition as the API shows it.
func section(sections *config.Sections, d storage.Definition, digest string) map[string]any {
	values := sections.Values(d.Type, d.Options)
	values["storage"], values["type"], values["digest"] = string(d.ID), d.Type, digest
	if _, ok := values["shared"]; !ok && d.Shared {
		values["shared"] = int64(1)
	}
	return values
}

type target struct {
	Storage id.Storage `pve:"storage"`
}

func (s *Service) read(ctx context.Context, req target) (map[string]any, error) {
	d, err := s.Storage.Lookup(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	c, err := s.Storage.Config(ctx)
	if err != nil {
		return nil, err
	}
	return section(s.Storage.Sections(), d, c.Digest), nil
}

// storeid is the parameter that every method about one storage has.
func storeid() map[string]*schema.Schema {
	return map[string]*schema.Schema{"storage": schema.Of[id.Storage]()}
}

func (s *Service) createSchema() *schema.Schema {
	return s.Storage.Sections().CreateSchema(config.SchemaOptions{Base: storeid()})
}

func (s *Service) updateSchema() *schema.Schema {
	return s.Storage.Sections().UpdateSchema(config.SchemaOptions{Base: storeid(), NoType: true})
}

// defined is what a definition has led to.
type defined struct {
	Storage id.Storage `pve:"storage"`
	Type    string     `pve:"type"`
}

func (s *Service) create(ctx context.Context, p schema.Params) (defined, error) {
	storeid, kind := id.Storage(p["storage"]), p["type"]
	d, err := s.Storage.Define(ctx, storeid, kind, without(p, "storage", "type"))
	return defined{d.ID, d.Type}, err
}

func (s *Service) update(ctx context.Context, p schema.Params) (defined, error) {
	d, err := s.Storage.Redefine(ctx, id.Storage(p["storage"]), storage.Change{
		Set: without(p, "storage", "delete", "digest"), Delete: schema.SplitList(p["delete"]), Digest: p["digest"],
	})
	return defined{d.ID, d.Type}, err
}

func without(p schema.Params, names ...string) schema.Params {
	rest := schema.Params{}
	for name, text := range p {
		rest[name] = text
	}
	for _, name := range names {
		delete(rest, name)
	}
	return rest
}

type nothing struct{}

// remove forgets a storage, and whatever rights there were on it.
func (s *Service) remove(ctx context.Context, req target) (nothing, error) {
	if err := s.Storage.Undefine(ctx, req.Storage); err != nil {
		return nothing{}, err
	}
	return nothing{}, access.Change(ctx, s.Cluster, func(r *access.Rights) error {
		r.RemoveStorage(req.Storage)
		return nil
	})
}
