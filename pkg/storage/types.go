package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Type is a kind of storage: what storage.cfg may say of it, and how to open one.
type Type struct {
	Name     string
	Contents []Content // what it can hold
	Default  []Content // what it holds where storage.cfg does not say
	Formats  []string  // of images; the first is the default
	// FormatsOf returns the formats of images of one storage, where that depends on its
	// options. It may be nil.
	FormatsOf func(options schema.Params) []string
	// Shared says that it is the same on all nodes by its nature.
	Shared bool
	// Existing says that volumes are made elsewhere, and only chosen from here.
	Existing bool
	// Config is what a section of storage.cfg may hold. Fields with the tag
	// fixed:"1" cannot be changed later; those with secret:"1" are not written there,
	// but given to the pool's [Configurer].
	Config *schema.Struct
	// Complete sets what a new section has where nothing is given. It may be nil. Paths
	// are below root.
	Complete func(storeid id.Storage, root string, options schema.Params)

	open func(schema.Params, Env) (Pool, error)
}

// NewType completes a Type whose sections are decoded into a C.
func NewType[C any](t Type, open func(C, Env) (Pool, error)) Type {
	t.Config = schema.TypeOf(reflect.TypeFor[C]())
	t.open = func(p schema.Params, env Env) (Pool, error) {
		var c C
		if err := schema.Decode(p, &c); err != nil {
			return nil, fmt.Errorf("storage '%s': %w", env.ID, err)
		}
		return open(c, env)
	}
	return t
}

// Env is the world of one storage.
type Env struct {
	ID     id.Storage
	Type   string
	Runner run.Runner
	Zone   *time.Location // in which backups are named
	// QEMUImg is the path of the program.
	QEMUImg string
	// Disposable says that the tree may be taken away as a whole, so nothing in it
	// is made to resist that.
	Disposable bool
	// Contents are those the storage is used for.
	Contents []Content
	// Lock runs fn under the lock of the storage. It is for choosing names: long work
	// is done outside.
	Lock func(ctx context.Context, fn func(context.Context) error) error
	// Guests tells for the guests of the cluster of which kind they are: qemu or lxc.
	Guests func(ctx context.Context) (map[id.VM]string, error)
	// Root is put before the paths of the host that we own.
	Root string
	// Secrets keeps what storage.cfg must not show.
	Secrets Secrets
	// Place tells of which type the storage of a volume is, and where the volume would lie.
	Place func(ctx context.Context, v id.Volume) (kind, path string, err error)
	// Volume makes a volume of another storage ready and returns its path. It is how one
	// storage lies on another.
	Volume func(ctx context.Context, v id.Volume) (string, error)
	// Probe asks file systems that may hang.
	Probe Probe
}

// Secrets are files below /etc/pve/priv, which are for root alone. Their names are like
// "storage/nas.pw".
type Secrets interface {
	// Path returns where a secret lies, whether it is there or not.
	Path(name string) string
	// Read returns a secret; nil where there is none.
	Read(ctx context.Context, name string) ([]byte, error)
	Write(ctx context.Context, name string, data []byte) error
	// Remove removes a secret. One that is not there is no error.
	Remove(ctx context.Context, name string) error
}

// Common are the options that storages of every type have.
type Common struct {
	Content *string `pve:"content" format:"pve-storage-content-list" doc:"Kinds of volumes that the storage is used for."`
	Nodes   *string `pve:"nodes" format:"pve-node-list" doc:"Nodes on which the storage is available; all without it."`
	Disable *bool   `pve:"disable" doc:"Do not use the storage."`
}

// Limited are the options of storages whose copies can be slowed down.
type Limited struct {
	BWLimit *BWLimit `pve:"bwlimit" doc:"Limits of the rate of copies, in KiB/s."`
}

// BWLimit limits the rate of copies by what they are for, in KiB/s.
type BWLimit struct {
	Default   *float64 `pve:"default" min:"0" hint:"LIMIT" doc:"Where nothing else is given."`
	Restore   *float64 `pve:"restore" min:"0" hint:"LIMIT" doc:"Restoring guests from backups."`
	Migration *float64 `pve:"migration" min:"0" hint:"LIMIT" doc:"Migrating guests."`
	Move      *float64 `pve:"move" min:"0" hint:"LIMIT" doc:"Moving disks."`
	Clone     *float64 `pve:"clone" min:"0" hint:"LIMIT" doc:"Cloning disks."`
}

// Run runs a program, or tells of it in a dry run where it would change something.
func (e Env) Run(ctx context.Context, c run.Cmd) error {
	if p := plan.From(ctx); p != nil && !c.ReadOnly {
		p.Stepf("%s", c)
		return nil
	}
	return e.Runner.Run(ctx, c)
}

// A ToolError is the failure of a program in upstream's words, to be told after
// what the program itself has said.
type ToolError struct{ Failed *run.Error }

// Error reads like "command '/usr/bin/qemu-img …' failed: exit code 1".
func (e *ToolError) Error() string { return e.Failed.Upstream() }

// Unwrap returns the error of the runner.
func (e *ToolError) Unwrap() error { return e.Failed }

// Tool gives the failures of programs their upstream wording. It is for programs
// whose own words the user has seen.
func Tool(err error) error {
	if e, ok := errors.AsType[*run.Error](err); ok {
		return &ToolError{e}
	}
	return err
}

// Has tells whether the storage may hold a content.
func (t Type) Has(c Content) bool { return slices.Contains(t.Contents, c) }
