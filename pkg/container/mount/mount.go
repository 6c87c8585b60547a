// Package mount mounts what a container is made of: its root and its mount points.
//
// It knows no configuration. A [Point] says what is mounted where and how; [Host.Mount]
// puts points together below a root, [Host.Add] brings one into a container that runs,
// [Prepare] and [Node] do the same for nodes of devices.
//
// Whoever lives in the root may change it at any moment, and may own a folder that another
// container mounts. So no path that he can reach is given to the kernel: folders are opened
// one component after the other, links are refused, and what was opened is what is mounted.
// Where the kernel has them (Linux 5.2), mounts are made away from every tree, with all
// their options, and then moved onto the opened folder in one step.
package mount

import (
	"errors"
	"os"
	"path"
	"strings"
	"time"
)

// A Kind tells what is mounted.
type Kind int

// The kinds of mount points.
const (
	Volume Kind = iota // a volume of a storage, see [Format]
	Bind               // a folder of the host
	Device             // a block device of the host, with a file system on it
)

// A Format tells what a volume is.
type Format int

// The formats of volumes. An image that turns out to be a block device is mounted as one.
const (
	Raw    Format = iota // a file system in a file: it needs a loop device
	Subvol               // a folder
	Block                // a block device
	ISO                  // an image of a medium that cannot be written
)

// ErrChanged says that a path led elsewhere than it did a moment before: somebody works
// against us.
var ErrChanged = errors.New("bindmount verification failed")

// A Point is one thing to mount.
type Point struct {
	Name   string // what messages call it, such as mp0
	Kind   Kind
	Format Format // of volumes

	// Source is the path of the folder, image or device. Links in the path of a folder are
	// refused, but for those in its first part, Trusted: the folder of a storage, which the
	// administrator may have put behind a link.
	Source  string
	Trusted string
	// Folder is used in place of Source when the caller has opened it already. It stays his.
	Folder *os.File

	Target string // where it is mounted, as the container sees it; "/" for the root

	ReadOnly bool
	// Frozen says that not even the journal may be written to: base volumes, templates,
	// snapshots. It implies ReadOnly.
	Frozen  bool
	Options Options
	Quota   bool  // keep quotas of users and groups
	ACL     *bool // POSIX ACLs; nil leaves it to the file system

	// IDMap changes what the owners on disk are inside. It has no effect on privileged
	// containers, which have no map that it could differ from.
	IDMap IDMap
	// KeepAttrs gives the mounted folder the owner and the mode of the one it covers. Only
	// for volumes: folders of the host keep theirs.
	KeepAttrs bool
}

// Options are the options of mount(8) that a mount point may have.
type Options struct {
	NoATime  bool // do not note when files were read
	NoDev    bool // nodes of devices are of no use
	NoExec   bool // nothing can be run
	NoSUID   bool // nothing runs as its owner
	Discard  bool // tell the device what is no longer used
	LazyTime bool // keep times in memory
}

// ParseOptions reads options as a configuration has them: "noatime;nodev".
func ParseOptions(text string) (Options, error) {
	var o Options
	for word := range strings.SplitSeq(text, ";") {
		switch word {
		case "noatime":
			o.NoATime = true
		case "nodev":
			o.NoDev = true
		case "noexec":
			o.NoExec = true
		case "nosuid":
			o.NoSUID = true
		case "discard":
			o.Discard = true
		case "lazytime":
			o.LazyTime = true
		case "":
		default:
			return Options{}, errors.New("no mount option of containers: " + word)
		}
	}
	return o, nil
}

// A Host is the machine that mounts.
type Host struct {
	Dev  string                           // folder of its device nodes; empty for /dev
	Proc string                           // its /proc; empty for /proc
	Warn func(format string, args ...any) // what is done other than wished; nil drops it

	// Patience is how long to wait for what is in use; 0 means [DefaultPatience].
	Patience time.Duration

	// Legacy does without mounts that are made away from every tree, as on kernels
	// before 5.2, where it is done anyway.
	Legacy bool
}

// DefaultPatience is how long we wait for what is in use. What uses it are mostly programs that
// are about to end.
const DefaultPatience = 2 * time.Second

func (h Host) dev() string {
	if h.Dev == "" {
		return "/dev"
	}
	return h.Dev
}

func (h Host) proc() string {
	if h.Proc == "" {
		return "/proc"
	}
	return h.Proc
}

func (h Host) warnf(format string, args ...any) {
	if h.Warn != nil {
		h.Warn(format, args...)
	}
}

// depth counts the components of a path; the root has none.
func depth(p string) int {
	p = path.Clean("/" + p)
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// name returns what messages call the point.
func (p Point) name() string {
	switch {
	case p.Name != "":
		return p.Name
	case depth(p.Target) == 0:
		return "rootfs"
	}
	return p.Target
}

// folder tells whether a folder is mounted, not a file system on a device.
func (p Point) folder() bool {
	return p.Kind == Bind || p.Kind == Volume && p.Format == Subvol
}

// readOnly tells whether nothing can be written.
func (p Point) readOnly() bool { return p.ReadOnly || p.Frozen || p.iso() }

func (p Point) iso() bool { return p.Kind == Volume && p.Format == ISO }
