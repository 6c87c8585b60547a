package storage

import (
	"context"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

const volumePath = "/nodes/{node}/storage/{storage}/content/{volume}"

func (s *Service) volumeMethods() []api.Method {
	described := api.Permissions{User: "all", Described: true}
	return []api.Method{
		api.New(api.Method{
			Name: "info", Verb: "GET", Path: volumePath, Doc: "Describe a volume.",
			ProxyTo: "node", Protected: true, Permissions: described,
		}, s.info),
		api.New(api.Method{
			Name: "updateattributes", Verb: "PUT", Path: volumePath, Doc: "Change what is kept beside a volume.",
			ProxyTo: "node", Protected: true, Permissions: described,
		}, s.annotate),
		api.NewTask(api.Method{
			Name: "delete", Verb: "DELETE", Path: volumePath, Doc: "Remove a volume.",
			ProxyTo: "node", Protected: true, Permissions: described,
		}, s.prepareFree, s.free),
	}
}

// A named names a volume by its id, or by its name beside that of the storage.
type named struct {
	Node    id.Node     `pve:"node"`
	Storage *id.Storage `pve:"storage"`
	Volume  string      `pve:"volume" doc:"Volume, with or without its storage."`
}

// id returns the volume that is meant.
func (n named) id() (id.Volume, error) {
	if !strings.Contains(n.Volume, ":") {
		if n.Storage == nil {
			return id.Volume{}, api.BadParam("volume", "got no storage ID")
		}
		return id.Volume{Storage: *n.Storage, Name: n.Volume}, nil
	}
	v, err := id.ParseVolume(n.Volume)
	if err == nil && n.Storage != nil && *n.Storage != v.Storage {
		return v, api.BadParam("storage", "storage ID missmatch ('%s' != '%s')", v.Storage, *n.Storage)
	}
	return v, err
}

// details are what is known of a volume.
type details struct {
	Format    string  `pve:"format"`
	Notes     *string `pve:"notes"`
	Path      string  `pve:"path"`
	Protected *bool   `pve:"protected"`
	Size      int64   `pve:"size" renderer:"bytes"`
	Used      int64   `pve:"used" renderer:"bytes"`
}

func (s *Service) info(ctx context.Context, req named) (details, error) {
	v, err := req.id()
	if err != nil {
		return details{}, err
	}
	if err := s.Storage.Activate(ctx, v.Storage); err != nil {
		return details{}, err
	}
	info, err := s.Storage.Info(ctx, v)
	if err != nil {
		return details{}, err
	}
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return details{}, err
	}
	all := details{Format: info.Format, Path: path, Size: info.Size, Used: info.Used}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil || n.Content != storage.Backups {
		return all, err
	}
	notes, err := s.Storage.Notes(ctx, v)
	if err != nil {
		return all, err
	}
	protected, err := s.Storage.Protected(ctx, v)
	if notes != "" {
		all.Notes = &notes
	}
	if protected {
		all.Protected = &protected
	}
	return all, err
}

type annotateRequest struct {
	named
	Notes     *string `pve:"notes" doc:"The notes of a backup."`
	Protected *bool   `pve:"protected" doc:"Keep a backup from being removed."`
}

func (s *Service) annotate(ctx context.Context, req annotateRequest) (nothing, error) {
	v, err := req.id()
	if err != nil {
		return nothing{}, err
	}
	if req.Notes != nil {
		err = s.Storage.SetNotes(ctx, v, *req.Notes)
	}
	if req.Protected != nil && err == nil {
		err = s.Storage.SetProtected(ctx, v, *req.Protected)
	}
	return nothing{}, err
}

type freeRequest struct {
	named
	Delay *int `pve:"delay" min:"1" max:"30" doc:"Seconds to wait for the end of the task."`
}

// prepareFree names the task: the guest, where the name of the volume tells, and the storage.
func (s *Service) prepareFree(ctx context.Context, req freeRequest) (api.Job, error) {
	v, err := req.id()
	if err != nil {
		return api.Job{}, err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return api.Job{}, err
	}
	name := string(v.Storage)
	if n.Guest != 0 {
		name = n.Guest.String() + "@" + name
	}
	return api.Job{Type: "imgdel", ID: name}, nil
}

func (s *Service) free(ctx context.Context, req freeRequest) error {
	v, err := req.id()
	if err != nil {
		return err
	}
	if err := s.Storage.Free(ctx, v); err != nil {
		return err
	}
	if plan.From(ctx) == nil {
		api.Printf(ctx, "Removed volume '%s'\n", v)
	}
	return nil
}
