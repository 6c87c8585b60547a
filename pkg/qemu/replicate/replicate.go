// Package replicate tells which volumes of a VM storage replication keeps up to date
// on other nodes.
package replicate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Storage is what is asked of the storages.
type Storage interface {
	Lookup(ctx context.Context, storeid id.Storage) (storage.Definition, error)
	Parse(ctx context.Context, v id.Volume) (storage.Name, error)
	Has(ctx context.Context, f storage.Feature, v id.Volume, snap string) (bool, error)
}

// Options says what to do with volumes that cannot be replicated.
type Options struct {
	// Cleanup asks for what may have been replicated, also by drives that are not any
	// more.
	Cleanup bool
	// Possible leaves out what cannot be replicated; else it is an error.
	Possible bool
}

// Volumes lists the volumes of a VM that are replicated, those of its snapshots and
// the unused ones among them, sorted. Discs, drives with replicate=0, volumes of others and
// those on shared storages are not.
func Volumes(ctx context.Context, s Storage, vmid id.VM, doc *config.Doc, o Options) ([]string, error) {
	all := named(doc)
	var found []string
	for _, volid := range slices.Sorted(maps.Keys(all)) {
		if use := all[volid]; use.disc || !use.replicate && !o.Cleanup {
			continue
		}
		ok, err := replicable(ctx, s, vmid, volid)
		switch {
		case err != nil && !isRefusal(err):
			return nil, err
		case err != nil && !o.Cleanup && !o.Possible && all[volid].replicate:
			return nil, err
		case err == nil && ok:
			found = append(found, volid)
		}
	}
	return found, nil
}

// A use is what the drives that name a volume say of it together.
type use struct {
	disc      bool // all have it as a disc
	replicate bool // one of them wants it replicated
}

// named returns the volumes of a VM and of its snapshots.
func named(doc *config.Doc) map[string]use {
	all := map[string]use{}
	add := func(values schema.Params) {
		for d := range qemu.Drives(values, qemu.AllDrives) {
			if d.File == "" || d.File == "none" {
				continue
			}
			u, seen := all[d.File]
			u.disc = d.IsCDROM() && (u.disc || !seen)
			u.replicate = u.replicate || d.Replicate == nil || *d.Replicate
			all[d.File] = u
		}
		if state := values["vmstate"]; state != "" {
			all[state] = use{replicate: true}
		}
	}
	add(doc.Values)
	for _, snap := range doc.Snapshots {
		add(snap)
	}
	return all
}

// A refusal says why a volume cannot be replicated.
type refusal string

func (r refusal) Error() string { return string(r) }

func isRefusal(err error) bool {
	_, ok := err.(refusal) //nolint:errorlint // it is never wrapped
	return ok
}

// replicable tells whether a volume is one to replicate. One that should be and
// cannot is an error.
func replicable(ctx context.Context, s Storage, vmid id.VM, volid string) (bool, error) {
	if strings.HasPrefix(volid, "/") {
		return false, refusal("unable to replicate local file/device '" + volid + "'")
	}
	v, err := id.ParseVolume(volid)
	if err != nil {
		return false, err
	}
	d, err := s.Lookup(ctx, v.Storage)
	if err != nil || d.Shared {
		return false, err
	}
	n, err := s.Parse(ctx, v)
	if err != nil || n.Guest != vmid {
		return false, err
	}
	if n.Content != storage.Images {
		return false, refusal(fmt.Sprintf("unable to replicate volume '%s', type '%s'", volid, n.Content))
	}
	ok, err := s.Has(ctx, storage.FeatureReplicate, v, "")
	if err == nil && !ok {
		err = refusal("missing replicate feature on volume '" + volid + "'")
	}
	return ok, err
}
