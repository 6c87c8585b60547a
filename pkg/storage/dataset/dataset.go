// Package dataset keeps volumes as datasets of ZFS right below one dataset: disks as
// block devices (zvols), file systems of containers as file systems.
//
// Types of storage that end in ZFS, wherever it runs, embed [Volumes] and add how it is
// made ready and what makes a disk accessible once it is there, as a [Door].
package dataset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// Volumes are the datasets below one that have the names of volumes.
type Volumes struct {
	storage.Env
	ZFS       zfs.Tool
	Parent    string   // the dataset, as tank/vm
	BlockSize string   // of new disks; empty for the default of ZFS
	Sparse    bool     // new disks take no space before they are written
	Formats   []string // raw, subvol
	Door      Door
}

// A Door makes disks accessible. Its methods are told the last part of a volume's name.
type Door interface {
	// Open makes a disk accessible that is new or has a new name; or, with again, one that
	// was closed and has its name still. One that is open is no error.
	Open(ctx context.Context, file string, again bool) error
	// Close is called before the disk goes, or is put back to an old state. One that is
	// not open is no error.
	Close(ctx context.Context, file string) error
	// Gone is called when a disk has gone.
	Gone(ctx context.Context, file string)
	// Resized is told of the new size in bytes.
	Resized(ctx context.Context, file string, size int64) error
}

// Planner returns a runner that asks for a dry run first, as [storage.Env.Run] does.
func Planner(env storage.Env) run.Runner { return planner{env} }

type planner struct{ env storage.Env }

func (p planner) Run(ctx context.Context, c run.Cmd) error { return p.env.Run(ctx, c) }

// Dataset returns the dataset that a volume's file, the last part of its name, is.
func (v *Volumes) Dataset(file string) string { return v.Parent + "/" + file }

// find reads a volume's name and returns its dataset.
func (v *Volumes) find(name string) (storage.Name, string, error) {
	n, err := Parse(name)
	return n, v.Dataset(n.File), err
}

// Status asks how full the parent is.
func (v *Volumes) Status(ctx context.Context) (storage.Status, error) {
	values, err := v.ZFS.Get(ctx, v.Parent, "available", "used")
	if err != nil {
		return storage.Status{}, err
	}
	free, used := number(values[0]), number(values[1])
	return storage.Status{Total: free + used, Used: used, Available: free}, nil
}

// Info asks ZFS for the size of a volume. That of a file system is its limit, 0
// where it has none.
func (v *Volumes) Info(ctx context.Context, name string) (storage.Info, error) {
	n, dataset, err := v.find(name)
	if err != nil {
		return storage.Info{}, err
	}
	property := "volsize"
	if n.Format == "subvol" {
		property = "refquota"
	}
	if planned(ctx, dataset) {
		return storage.Info{Format: n.Format}, nil // it would be there
	}
	values, err := v.ZFS.Get(ctx, dataset, property, "usedbydataset", "origin")
	if err != nil {
		return storage.Info{}, absent(err)
	}
	if n.Format == "raw" && number(values[0]) == 0 {
		return storage.Info{}, errors.New("Could not get zfs volume size")
	}
	return storage.Info{Size: number(values[0]), Used: number(values[1]), Format: n.Format, Parent: v.parent(values[2])}, nil
}

// absent turns the error of a dataset that is not there into [storage.ErrNotExist].
func absent(err error) error {
	if errors.Is(err, zfs.ErrNotExist) {
		return fmt.Errorf("%w: %w", storage.ErrNotExist, err)
	}
	return err
}

// parent returns how lists name the origin of a clone: without the dataset they are of.
func (v *Volumes) parent(origin string) string {
	if origin == "-" {
		return ""
	}
	return strings.TrimPrefix(origin, v.Parent+"/")
}

// locked runs fn under the storage's lock; a dry run needs none.
func (v *Volumes) locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return v.Lock(ctx, fn)
}

// planned tells whether a dry run has made a dataset.
func planned(ctx context.Context, dataset string) bool {
	p := plan.From(ctx)
	if p == nil {
		return false
	}
	text, ok := p.Read(mark(dataset))
	return ok && text != nil
}

// note notes in a dry run that a dataset would be there, or gone.
func note(ctx context.Context, dataset string, there bool) {
	p := plan.From(ctx)
	switch {
	case p == nil:
	case there:
		p.Write(mark(dataset), new(""))
	default:
		p.Write(mark(dataset), nil)
	}
}

// mark is how a dry run remembers a dataset among its files.
func mark(dataset string) string { return "zfs:" + dataset }

// meant tells that the work is no dry run.
func meant(ctx context.Context) bool { return plan.From(ctx) == nil }
