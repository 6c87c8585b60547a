package storage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

const prunePath = "/nodes/{node}/storage/{storage}/prunebackups"

func (s *Service) pruneMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "dryrun", Verb: "GET", Path: prunePath, Doc: "Tell which backups would be removed.",
			ProxyTo: "node", Protected: true, Permissions: look(),
		}, s.tryPrune),
		api.NewTask(api.Method{
			Name: "delete", Verb: "DELETE", Path: prunePath, Doc: "Remove the backups that need not be kept.",
			ProxyTo: "node", Protected: true, Permissions: api.Permissions{User: "all", Described: true},
		}, s.preparePrune, s.prune),
		api.New(api.Method{Name: "prunebackups", Doc: "Remove the backups that need not be kept."}, s.pruneCommand),
	}
}

type pruneRequest struct {
	target
	which
	Keep *storage.Keep `pve:"prune-backups" format:"prune-backups" doc:"Which backups to keep, other than the storage says."`
}

// which says which backups are looked at.
type which struct {
	Type *string `pve:"type" enum:"qemu|lxc" doc:"Only backups of guests of this kind."`
	VMID *id.VM  `pve:"vmid" doc:"Only backups of this guest."`
}

// A marked backup is one that is kept or removed.
type marked struct {
	Created int64  `pve:"ctime"`
	Mark    string `pve:"mark" enum:"keep|remove|protected|renamed"`
	Type    string `pve:"type"`
	VMID    *int64 `pve:"vmid"`
	Volume  string `pve:"volid"`
}

func (s *Service) tryPrune(ctx context.Context, req pruneRequest) ([]marked, error) {
	return s.mark(ctx, req.Storage, req.which, req.Keep)
}

// mark decides about the backups of a storage.
func (s *Service) mark(ctx context.Context, storeid id.Storage, w which, keep *storage.Keep) ([]marked, error) {
	d, err := s.Storage.Enabled(ctx, storeid)
	if err != nil {
		return nil, err
	}
	if keep == nil {
		if keep, err = d.Keep(); err != nil {
			return nil, err
		}
		if keep == nil {
			return nil, fmt.Errorf("no prune-backups options configured for storage '%s'", storeid)
		}
	}
	filter := storage.Filter{Content: []storage.Content{storage.Backups}}
	if w.VMID != nil {
		filter.Guest = *w.VMID
	}
	backups, err := s.Storage.List(ctx, storeid, filter)
	if err != nil {
		return nil, err
	}
	all := []marked{} // nothing is an empty list for programs
	for _, p := range storage.Prune(backups, *keep, time.Local) {
		if w.Type != nil && p.Type != *w.Type {
			continue
		}
		one := marked{Created: p.Created.Unix(), Mark: string(p.Mark), Type: p.Type, Volume: string(storeid) + ":" + p.Name}
		if p.Guest != 0 {
			one.VMID = new(int64(p.Guest))
		}
		all = append(all, one)
	}
	return all, nil
}

func (s *Service) preparePrune(ctx context.Context, req pruneRequest) (api.Job, error) {
	_, err := s.Storage.Enabled(ctx, req.Storage)
	return api.Job{Type: "prunebackups", ID: string(req.Storage)}, err
}

func (s *Service) prune(ctx context.Context, req pruneRequest) error {
	all, err := s.mark(ctx, req.Storage, req.which, req.Keep)
	if err != nil {
		return err
	}
	return s.removeMarked(ctx, all)
}

// removeMarked removes the backups that are marked so. One that cannot be removed does not
// keep the others.
func (s *Service) removeMarked(ctx context.Context, all []marked) error {
	failed := 0
	for _, m := range all {
		if m.Mark != string(storage.MarkRemove) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v, err := id.ParseVolume(m.Volume)
		if err != nil {
			return err
		}
		if plan.From(ctx) == nil {
			api.Printf(ctx, "removing backup '%s'\n", v)
		}
		if err := s.Storage.Free(ctx, v); err != nil {
			api.Warnf(ctx, "error when removing backup '%s' - %v", v, err)
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d backups could not be removed", failed)
	}
	return nil
}

type pruneCommandRequest struct {
	target
	which
	storage.Keep
	DryRun *bool `pve:"dry-run" doc:"Only show what would be removed."`
}

// pruned is what the command has to show.
type pruned struct {
	DryRun bool     `pve:"dryrun"`
	List   []marked `pve:"list"`
}

func (s *Service) pruneCommand(ctx context.Context, req pruneCommandRequest) (pruned, error) {
	if err := req.Check(); err != nil {
		return pruned{}, api.BadParam("prune-backups", "invalid format - %s", err)
	}
	keep := &req.Keep
	if len(schema.Encode(req.Keep)) == 0 {
		keep = nil
	}
	all, err := s.mark(ctx, req.Storage, req.which, keep)
	if err != nil {
		return pruned{}, err
	}
	slices.SortStableFunc(all, byGuest)
	if req.DryRun != nil && *req.DryRun {
		return pruned{DryRun: true, List: all}, nil
	}
	return pruned{}, s.removeMarked(ctx, all)
}

// byGuest sorts by guest, as the command shows them.
func byGuest(a, b marked) int {
	guest := func(m marked) int64 {
		if m.VMID == nil {
			return 0
		}
		return *m.VMID
	}
	return cmp.Compare(guest(a), guest(b))
}
