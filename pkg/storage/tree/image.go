package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// mostImages bounds how many images a guest has on one storage.
const mostImages = 1024

// reserve takes a name for an image of a guest, by making its file, which is empty.
// It needs the storage's lock, for the numbers of images with other formats are taken
// as well. In a dry run the name is only noted.
func (t *Tree) reserve(ctx context.Context, guest id.VM, format, file string) (storage.Name, string, error) {
	top, err := t.Subdir(storage.Images)
	if err != nil {
		return storage.Name{}, "", err
	}
	dir := filepath.Join(top, guest.String())
	if file == "" {
		if file, err = t.free(ctx, dir, guest, format); err != nil {
			return storage.Name{}, "", err
		}
	}
	n, err := parseImage(file, guest.String())
	if err != nil {
		return n, "", err
	}
	if n.Format != format {
		return n, "", fmt.Errorf("illegal name '%s' - wrong extension for format ('%s' != '%s')", file, n.Format, format)
	}
	path := filepath.Join(dir, file)
	if taken(ctx, path) {
		return n, "", exists(path)
	}
	if left, err := t.leftovers(n, path); err != nil || len(left) > 0 {
		return n, "", errors.Join(err, leftBehind(left))
	}
	if p := plan.From(ctx); p != nil {
		p.Write(path, new(""))
		return n, path, nil
	}
	return n, path, t.place(path, format)
}

// place makes the empty image that takes a name.
func (t *Tree) place(path, format string) error {
	err := inFolder(filepath.Dir(path), func() error {
		if format == "subvol" {
			return os.Mkdir(path, 0o755)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, imageMode)
		if err != nil {
			return err
		}
		return f.Close()
	})
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	if err != nil {
		_ = os.Remove(filepath.Dir(path))
		return fmt.Errorf("unable to create image: %w", err)
	}
	return nil
}

// imageMode is that of images: what guests have on their disks is not for all users of the host.
const imageMode = 0o640

// inFolder makes a folder and runs fn, which puts something there. The folder may go in
// between: a failed step removes an empty one without the lock, see [Tree.drop].
func inFolder(dir string, fn func() error) error {
	const most = 100
	for try := 1; ; try++ {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := fn(); try == most || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

func exists(path string) error {
	return storage.Told("disk image '"+path+"' already exists", storage.ErrExists)
}

// numbered is how images, and their states, are named that the storage chose the name of.
var numbered = pattern.New(`^(?:snap-[^/]*-|\.next-)?(?:vm|base|subvol|basevol)-(\d+)-disk-(\d+)(?:\D|$)`)

// free finds a name that no image of the guest has, in any format.
func (t *Tree) free(ctx context.Context, dir string, guest id.VM, format string) (string, error) {
	files, err := names(dir)
	if err != nil {
		return "", err
	}
	used := map[int]bool{}
	for _, name := range files {
		if m := numbered.FindStringSubmatch(name); m != nil && m[1] == guest.String() {
			n, _ := strconv.Atoi(m[2])
			used[n] = true
		}
	}
	prefix := "vm"
	if format == "subvol" {
		prefix = "subvol"
	}
	for n := range mostImages {
		name := func(format string) string { return fmt.Sprintf("%s-%s-disk-%d.%s", prefix, guest, n, format) }
		if !used[n] && !t.planned(ctx, dir, name) {
			return name(format), nil
		}
	}
	return "", fmt.Errorf("unable to allocate an image name for VM %s in storage '%s'", guest, t.ID)
}

// planned tells whether a dry run has given a number away.
func (t *Tree) planned(ctx context.Context, dir string, name func(format string) string) bool {
	for _, format := range []string{"raw", "qcow2", "vmdk", "subvol"} {
		if plan.From(ctx) != nil && taken(ctx, filepath.Join(dir, name(format))) {
			return true
		}
	}
	return false
}

// taken tells whether something is, or in a dry run would be, at a path.
func taken(ctx context.Context, path string) bool {
	if p := plan.From(ctx); p != nil {
		if text, ok := p.Read(path); ok {
			return text != nil
		}
	}
	_, err := os.Lstat(path)
	// What cannot be looked at may be there: nothing is to be put in its place.
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// locked runs fn under the storage's lock; a dry run needs none.
func (t *Tree) locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return t.Lock(ctx, fn)
}

// Alloc makes an image.
func (t *Tree) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	switch r.Format {
	case "raw", "qcow2", "vmdk":
	case "subvol":
		if r.Size != 0 {
			return "", errors.New("storage does not support subvol quotas")
		}
	default:
		return "", fmt.Errorf("unsupported format '%s'", r.Format)
	}
	var n storage.Name
	var path string
	err := t.locked(ctx, func(ctx context.Context) (err error) {
		n, path, err = t.reserve(ctx, r.Guest, r.Format, r.File)
		return err
	})
	if err != nil {
		return "", err
	}
	if r.Format == "subvol" {
		if p := plan.From(ctx); p != nil {
			p.Stepf("mkdir -p %s", path)
		}
		return imageVolume(n), nil
	}
	args := []string{"create"}
	if o := t.preallocation(r.Format); o != "" {
		args = append(args, "-o", "preallocation="+o)
	}
	args = append(args, "-f", r.Format, path, strconv.FormatInt(r.Size, 10)+"K")
	if err := t.image(ctx, args...); err != nil {
		t.drop(path)
		return "", fmt.Errorf("unable to create image: %w", err)
	}
	return imageVolume(n), nil
}

// preallocation returns how much of a new image is written at once.
func (t *Tree) preallocation(format string) string {
	switch {
	case format == "vmdk":
		return ""
	case format == "raw" && (t.Preallocation == "" || t.Preallocation == "metadata"):
		return "off" // a raw image has no metadata
	case t.Preallocation == "":
		return "metadata"
	}
	return t.Preallocation
}

// image runs qemu-img and passes on what it prints.
func (t *Tree) image(ctx context.Context, args ...string) error {
	return t.Run(ctx, run.Cmd{Path: t.QEMUImg, Args: args, Stdout: api.StreamsOf(ctx).Out})
}

// show is image where upstream lets qemu-img itself say what is wrong.
func (t *Tree) show(ctx context.Context, args ...string) error {
	streams := api.StreamsOf(ctx)
	return storage.Tool(t.Run(ctx, run.Cmd{Path: t.QEMUImg, Args: args, Stdout: streams.Out, Stderr: streams.Err}))
}

// drop removes what a failed step has begun.
func (t *Tree) drop(path string) {
	_ = os.Remove(path)
	_ = os.Remove(filepath.Dir(path)) // the guest's folder, when nothing else is in it
}

// Info looks at an image or a file.
func (t *Tree) Info(ctx context.Context, name string) (storage.Info, error) {
	n, err := Parse(name)
	if err != nil {
		return storage.Info{}, err
	}
	path, err := t.path(n)
	if err != nil {
		return storage.Info{}, err
	}
	if err := t.Answers(ctx); err != nil {
		return storage.Info{}, err
	}
	if err := t.finish(ctx, n, path); err != nil {
		return storage.Info{}, err
	}
	if p := plan.From(ctx); p != nil && taken(ctx, path) {
		if _, err := os.Stat(path); err != nil {
			return storage.Info{Format: n.Format}, nil // it would be there
		}
	}
	format := n.Format
	if n.Content == storage.Imports && format != "qcow2" && format != "vmdk" {
		format = "raw"
	}
	return storage.ImageInfo(ctx, t.Env, path, format)
}

// Resize grows an image. That of a running guest is QEMU's to grow.
func (t *Tree) Resize(ctx context.Context, name string, size int64, running bool) error {
	n, path, err := t.find(name)
	if err != nil {
		return err
	}
	if n.Format != "raw" && n.Format != "qcow2" {
		return errors.New("can't resize this image format")
	}
	if running {
		return nil
	}
	return t.show(ctx, "resize", "-f", n.Format, path, strconv.FormatInt(size, 10))
}

// find returns the name and path of an image.
func (t *Tree) find(name string) (storage.Name, string, error) {
	n, err := Parse(name)
	if err != nil {
		return n, "", err
	}
	path, err := t.path(n)
	return n, path, err
}

// CreateBase turns an image into a base: renamed, read-only and, in a tree that is
// there to stay, immutable.
func (t *Tree) CreateBase(ctx context.Context, name string) (string, error) {
	n, path, err := t.find(name)
	if err != nil {
		return "", err
	}
	if n.Content != storage.Images {
		return "", fmt.Errorf("create_base on wrong vtype '%s'", n.Content)
	}
	if n.IsBase {
		return "", errors.New("create_base not possible with base image")
	}
	base := n
	base.File, base.IsBase = storage.BaseFile(n.File), true
	to, err := t.path(base)
	if err != nil {
		return "", err
	}
	err = t.locked(ctx, func(ctx context.Context) error {
		info, err := t.Info(ctx, name)
		if err != nil {
			return fmt.Errorf("file_size_info on '%s' failed", name)
		}
		if err := t.noStates(n, info.Parent, "can't turn volume '"+name+"' into a base: it has snapshots, which are volumes of their own"); err != nil {
			return err
		}
		if n.Base != "" && info.Parent != "../"+n.BaseGuest.String()+"/"+n.Base {
			return fmt.Errorf("volname '%s' contains wrong information about parent", name)
		}
		return t.move(ctx, path, to)
	})
	if err != nil {
		return "", err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("chmod 0444 %s", run.Quote(to))
		return imageVolume(base), nil
	}
	if err := os.Chmod(to, 0o444); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	if !t.Disposable {
		_ = immutable(to, true) // many file systems know no such flag
	}
	return imageVolume(base), nil
}

// move renames an image to a name that must be free. It needs the lock.
func (t *Tree) move(ctx context.Context, from, to string) error {
	if taken(ctx, to) {
		return fmt.Errorf("file '%s' already exists", to)
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("mv %s %s", run.Quote(from), run.Quote(to))
		p.Write(from, nil)
		p.Write(to, new(""))
		return nil
	}
	err := inFolder(filepath.Dir(to), func() error { return os.Rename(from, to) })
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		return fmt.Errorf("rename '%s' to '%s' failed: %w", from, to, link.Err)
	}
	return err
}

// Clone makes an image that holds only what differs from its base.
func (t *Tree) Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error) {
	n, base, err := t.find(name)
	switch {
	case err != nil:
		return "", err
	case n.Content != storage.Images:
		return "", fmt.Errorf("clone_image on wrong vtype '%s'", n.Content)
	case snap != "":
		return "", errors.New("this storage type does not support clone_image on snapshot")
	case n.Format == "subvol":
		return "", errors.New("this storage type does not support clone_image on subvolumes")
	case !n.IsBase:
		return "", errors.New("clone_image only works on base images")
	}
	var clone storage.Name
	var path string
	var hold *os.File
	err = t.locked(ctx, func(ctx context.Context) (err error) {
		if hold, err = keep(ctx, base); err != nil {
			return err
		}
		clone, path, err = t.reserve(ctx, guest, "qcow2", "")
		return err
	})
	defer hold.Close() //nolint:errcheck // only its lock mattered
	if err != nil {
		return "", err
	}
	clone.BaseGuest, clone.Base = n.Guest, n.File
	parent := "../" + n.Guest.String() + "/" + n.File
	if plan.From(ctx) == nil {
		api.Printf(ctx, "clone %s: %s, %s, %s to %s (base=%s)\n", name, n.Content, clone.File, guest, clone.File, parent)
	}
	if err := t.image(ctx, "create", "-b", parent, "-F", n.Format, "-f", "qcow2", path); err != nil {
		t.drop(path)
		return "", fmt.Errorf("unable to create image: %w", err)
	}
	return imageVolume(clone), nil
}

// keep holds a base until the file it returns is closed: as long as a clone does not
// name its base yet, nothing else tells that the base is in use. It needs the lock.
func keep(ctx context.Context, base string) (*os.File, error) {
	if plan.From(ctx) != nil && taken(ctx, base) {
		return nil, nil
	}
	f, err := os.Open(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, storage.Told("base image '"+base+"' does not exist", storage.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return f, syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
}

// kept tells whether a clone is being made of a base. It needs the lock.
func kept(base string) bool {
	f, err := os.OpenFile(base, os.O_RDWR, 0) // NFS locks what is only read for readers alone
	if err != nil {
		f, err = os.Open(base) // an immutable one
	}
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only its lock mattered
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// Rename gives an image to a guest.
func (t *Tree) Rename(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	n, path, err := t.find(name)
	if err != nil {
		return "", err
	}
	if n.Content != storage.Images {
		return "", fmt.Errorf("can't rename volume '%s'", name)
	}
	renamed := n
	err = t.locked(ctx, func(ctx context.Context) error {
		if err := t.mayMove(ctx, n, path); err != nil {
			return err
		}
		top, err := t.Subdir(storage.Images)
		if err != nil {
			return err
		}
		dir := filepath.Join(top, guest.String())
		if file == "" {
			if file, err = t.free(ctx, dir, guest, n.Format); err != nil {
				return err
			}
		}
		to, err := parseImage(file, guest.String())
		if err != nil {
			return err
		}
		if to.Format != n.Format {
			return fmt.Errorf("illegal name '%s' - wrong extension for format ('%s' != '%s')", file, to.Format, n.Format)
		}
		renamed = to
		renamed.Base, renamed.BaseGuest = n.Base, n.BaseGuest
		return t.move(ctx, path, filepath.Join(dir, file))
	})
	if err != nil {
		return "", err
	}
	return imageVolume(renamed), nil
}
