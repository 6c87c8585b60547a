// Package storage is where guests keep what they have: disks, discs, templates,
// backups. It has the contract that every type of storage fulfils, and the service
// that reads storage.cfg and finds, for a volume, the storage that can act on it.
//
// A type of storage is a package below this one. It offers a [Pool], which is the
// small contract, and, where it can do more, the optional abilities beside it
// ([Snapshotter], [Cloner], [Resizer], …), which are found by type assertion. The
// package all lists the types; whoever needs storages takes a [Service], which
// asks for the abilities and says in upstream's words what is not possible.
//
// It does not know what a guest is: volumes belong to a number.
package storage

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// A Pool is one storage: a section of storage.cfg, ready for use. It holds no
// state of its own: everything is asked from the storage each time, so that several
// processes and nodes can use it side by side. All methods may be called by several
// goroutines at once.
//
// Names are those after the colon of a volume id. A method that gets one that it
// cannot read fails as Parse does, before anything is touched.
type Pool interface {
	// Parse reads a volume's name. It only looks at the text.
	Parse(name string) (Name, error)

	// Path returns where QEMU finds the volume, or its state in a snapshot: a path, or
	// an address with a scheme, as iscsi://…. It only looks at the text: the volume need
	// not be there.
	Path(name, snap string) (string, error)

	// Has tells whether the volume, or its state in a snapshot, could do what the
	// feature says. It only looks at the text.
	Has(f Feature, name, snap string) bool

	// Activate makes the storage ready, in bounded time, whatever state it is in. Doing
	// it again costs little. Everything below may rely on it.
	Activate(ctx context.Context) error

	// Deactivate is the inverse of Activate, as far as the type has one.
	Deactivate(ctx context.Context) error

	// Status returns how full the storage is.
	Status(ctx context.Context) (Status, error)

	// List returns the volumes that the filter lets through, grouped by content in the
	// order the filter has, each group sorted by name. Names that do not look like
	// volumes are left out; volumes that are damaged are listed with what is known.
	List(ctx context.Context, f Filter) ([]Volume, error)

	// Info looks at one volume. One that is not there is ErrNotExist.
	Info(ctx context.Context, name string) (Info, error)

	// Alloc makes a volume and returns its name. The name is taken under the lock of
	// the storage and the work done outside it, so that many may be made at once. What a
	// failed or ended Alloc has begun is gone.
	Alloc(ctx context.Context, r Alloc) (name string, err error)

	// Free removes a volume. One that is not there is said so to the user, but is no
	// error: that is what was wanted. A base that has clones stays, as ErrInUse.
	Free(ctx context.Context, name string) error
}

// The optional abilities of a Pool.
type (
	// A Resizer changes the size of volumes.
	Resizer interface {
		// Resize sets the size in bytes. The volume of a running guest is changed by its
		// QEMU: then only what lies below is made ready for it.
		Resize(ctx context.Context, name string, size int64, running bool) error
	}

	// A Snapshotter keeps states of volumes. A volume of a running guest whose
	// snapshots lie inside the image is not touched: its QEMU does that.
	Snapshotter interface {
		Snapshot(ctx context.Context, name, snap string) error
		DeleteSnapshot(ctx context.Context, name, snap string, running bool) error
		// CanRollback says why not, if it is not possible, before anything is touched.
		CanRollback(ctx context.Context, name, snap string) error
		Rollback(ctx context.Context, name, snap string) error
		Snapshots(ctx context.Context, name string) ([]Snapshot, error)
	}

	// A Cloner makes linked clones, which share with their base what they have not
	// changed.
	Cloner interface {
		// Clone returns the name of a new volume of the given guest.
		Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error)
	}

	// A BaseCreator turns volumes into bases: read-only, to be cloned.
	BaseCreator interface {
		// CreateBase returns the new name of the volume.
		CreateBase(ctx context.Context, name string) (string, error)
	}

	// A Renamer gives volumes to another guest, or another name.
	Renamer interface {
		// Rename returns the new name of the volume. An empty file name lets the storage
		// choose a free one.
		Rename(ctx context.Context, name string, guest id.VM, file string) (string, error)
	}

	// A VolumeActivator has volumes that must be made ready one by one.
	VolumeActivator interface {
		// ActivateVolume makes the volume, or its state in a snapshot, accessible at its
		// path. One that is not there is ErrNotExist.
		ActivateVolume(ctx context.Context, name, snap string) error
		DeactivateVolume(ctx context.Context, name, snap string) error
	}

	// A Locator knows which of its volumes lies at a path of the host.
	Locator interface {
		// Locate returns no content where there is none of its volumes.
		Locate(ctx context.Context, path string) (Content, string)
	}

	// A Directory has a folder for each content, into which files can be put.
	Directory interface {
		Subdir(c Content) (string, error)
	}

	// An Annotator keeps notes with its backups.
	Annotator interface {
		Notes(ctx context.Context, name string) (string, error)
		SetNotes(ctx context.Context, name, text string) error
	}

	// A Protector keeps backups from being removed.
	Protector interface {
		Protected(ctx context.Context, name string) (bool, error)
		SetProtected(ctx context.Context, name string, on bool) error
	}

	// An Imager has volumes that qemu-img does not read at their path in the plain way.
	Imager interface {
		Image(ctx context.Context, name, snap string, target bool) (Image, error)
	}
)

type (
	// A Configurer has something to do when its section of storage.cfg comes, changes or
	// goes. It is called under the lock of that file.
	Configurer interface {
		// Added is told of a new section, with the secrets that were given, before it is
		// written; an error leaves the file as it was.
		Added(ctx context.Context, secrets map[string]string) error
		// Changed is told of a change before it is written, with the secrets that are new, or
		// nil for those that are deleted.
		Changed(ctx context.Context, secrets map[string]*string) error
		// Removed is told of the end, when the section is gone.
		Removed(ctx context.Context) error
	}

	// An Exporter writes volumes as streams.
	Exporter interface {
		// ExportFormats returns the formats in which a volume can be written, the best one
		// first; none when it cannot be.
		ExportFormats(ctx context.Context, name string, s Stream) []string
		Export(ctx context.Context, w io.Writer, name string, s Stream) error
	}

	// An Importer makes volumes from streams.
	Importer interface {
		// ImportFormats returns the formats from which a volume can be made, the best one
		// first.
		ImportFormats(ctx context.Context, name string, s Stream) []string
		// Import returns the name of the volume: that it was given, or, where that is taken
		// and rename is set, a free one. What a failed Import has made is gone.
		Import(ctx context.Context, r io.Reader, name string, s Stream, rename bool) (string, error)
	}
)

// A Stream says what a stream holds of a volume.
type Stream struct {
	Format   string // raw+size, tar+size, qcow2+size, vmdk+size, zfs, btrfs
	Snapshot string // the state to write; empty for the present one
	Base     string // the state that the receiver has already
	All      bool   // with all snapshots up to that state
	// Snapshots are those to write with the state, the oldest first, where not all are
	// wanted.
	Snapshots []string
	BWLimit   int // KiB/s, 0 for no limit
}

// What went wrong, where callers branch on it.
var (
	// ErrNotExist is the error of a volume that is not there.
	ErrNotExist = errors.New("volume does not exist")
	// ErrExists is the error of a volume's name that is taken.
	ErrExists = errors.New("volume exists already")
	// ErrInUse is the error of a base that has clones.
	ErrInUse = errors.New("volume is in use")
)

// A Feature is something that a volume may be able to do.
type Feature string

// The features.
const (
	FeatureSnapshot  Feature = "snapshot"   // keep its state under a name
	FeatureClone     Feature = "clone"      // be the base of a linked clone
	FeatureTemplate  Feature = "template"   // become a base
	FeatureCopy      Feature = "copy"       // be read as a whole
	FeatureSparse    Feature = "sparseinit" // reads as zeros when it is new
	FeatureRename    Feature = "rename"     // go to another guest
	FeatureReplicate Feature = "replicate"  // be kept up to date on another node
)

// A Name is what the name of a volume says.
type Name struct {
	Content   Content
	File      string // the last part: vm-100-disk-0.qcow2
	Guest     id.VM  // whose it is; 0 where the name does not say
	Base      string // the File of the base of a linked clone
	BaseGuest id.VM
	IsBase    bool
	Format    string // raw, qcow2, vmdk, subvol, ova, …
}

// A Filter says which volumes to list.
type Filter struct {
	Content []Content
	Guest   id.VM // only those of this guest; 0 for all
}

// A Volume is one line of a list.
type Volume struct {
	Name      string
	Content   Content
	Format    string
	Size      int64     // bytes; of a disk, what the guest sees
	Used      int64     // bytes taken on the storage; 0 where that is not known
	Created   time.Time // zero where that is not known
	Guest     id.VM     // whose it is
	Subtype   string    // of a backup: qemu, lxc
	Parent    string    // of a linked clone, as the image says it
	Notes     string    // the first line of them
	Protected bool
}

// Info is what looking at one volume tells.
type Info struct {
	Size   int64 // bytes that the guest sees
	Used   int64 // bytes taken on the storage
	Format string
	Parent string // of a linked clone, as the image says it
}

// Status is how full a storage is, in bytes.
type Status struct {
	Total, Used, Available int64
}

// Alloc says which volume to make.
type Alloc struct {
	Guest  id.VM
	Format string
	File   string // the last part of the name; empty lets the storage choose
	Size   int64  // KiB
}

// A Snapshot is one state of a volume.
type Snapshot struct {
	Name    string
	ID      string
	Created time.Time
}
