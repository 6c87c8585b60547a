package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// disk is the file of a raw image in its subvolume.
const disk = "disk.raw"

// What is being made beside a volume is named like a snapshot that nobody can ask for, so
// that it goes with the volume when it is left behind.
const (
	receiving = "@:receive"
	replacing = "@:new"
)

// Parse reads a volume's name. That of a raw image must be that of no other volume when
// it has lost its extension.
func (p *pool) Parse(name string) (storage.Name, error) {
	n, err := tree.Parse(name)
	if err != nil || !own(n) {
		return n, err
	}
	stem := strings.TrimSuffix(n.File, ".raw")
	other := n.Format == "raw" && slices.Contains([]string{".raw", ".qcow2", ".vmdk", ".subvol"}, filepath.Ext(stem))
	if strings.Contains(n.File, "@") || stem == "." || stem == ".." || other {
		return storage.Name{}, fmt.Errorf("unable to parse volume filename '%s'", n.File)
	}
	return n, nil
}

// own tells whether a volume is a subvolume, and not a file as in other trees.
func own(n storage.Name) bool {
	return n.Content == storage.Images && (n.Format == "raw" || n.Format == "subvol")
}

// subvolume returns where the subvolume of a volume lies.
func (p *pool) subvolume(n storage.Name) (string, error) {
	top, err := p.Subdir(n.Content)
	return filepath.Join(top, n.Guest.String(), strings.TrimSuffix(n.File, ".raw")), err
}

// find returns the name of a volume and its subvolume; none where it is a file.
func (p *pool) find(name string) (storage.Name, string, error) {
	n, err := p.Parse(name)
	if err != nil || !own(n) {
		return n, "", err
	}
	subvol, err := p.subvolume(n)
	return n, subvol, err
}

// inside returns the path of what guests use of a subvolume.
func inside(n storage.Name, subvol string) string {
	if n.Format == "raw" {
		return filepath.Join(subvol, disk)
	}
	return subvol
}

// Path returns where a volume lies.
func (p *pool) Path(name, snap string) (string, error) {
	n, subvol, err := p.find(name)
	if err != nil || subvol == "" {
		if err == nil {
			return p.Tree.Path(name, snap)
		}
		return "", err
	}
	if snap != "" {
		subvol += "@" + snap
	}
	return inside(n, subvol), nil
}

// volume returns the name of the volume whose subvolume lies in a guest's folder.
func volume(n storage.Name) string { return n.Guest.String() + "/" + n.File }

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

// isSubvolume tells whether a path is the root of a subvolume.
func isSubvolume(path string) bool {
	const first = 256 // the number of every such folder
	st, err := os.Lstat(path)
	if err != nil || !st.IsDir() {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Ino == first
}

// numbered is how volumes are named that the storage chose the name of.
var numbered = pattern.New(`^(?:vm|base|subvol|basevol)-(\d+)-disk-(\d+)(?:\D|$)`)

// mostImages bounds how many volumes a guest has on one storage.
const mostImages = 1024

// reserve takes a name for a volume of a guest: the one given, or a free one. make puts
// the subvolume there. It needs the storage's lock.
func (p *pool) reserve(ctx context.Context, guest id.VM, format, file string, make func(subvol string) error) (storage.Name, string, error) {
	top, err := p.Subdir(storage.Images)
	if err != nil {
		return storage.Name{}, "", err
	}
	dir := filepath.Join(top, guest.String())
	if file == "" {
		if file, err = p.free(ctx, dir, guest, format); err != nil {
			return storage.Name{}, "", err
		}
	}
	n, err := p.Parse(guest.String() + "/" + file)
	if err != nil {
		return n, "", err
	}
	if n.Format != format {
		return n, "", fmt.Errorf("illegal name '%s' - wrong extension for format ('%s' != '%s')", file, n.Format, format)
	}
	subvol, err := p.subvolume(n)
	if err != nil {
		return n, "", err
	}
	if taken(ctx, subvol) {
		return n, "", storage.Told("disk image '"+subvol+"' already exists", storage.ErrExists)
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Write(subvol, new(""))
		return n, subvol, make(subvol)
	}
	return n, subvol, p.inFolder(dir, func() error { return make(subvol) })
}

// inFolder makes a folder and runs fn, which puts something there. A failed step of another
// may remove the folder in between, as it is empty.
func (p *pool) inFolder(dir string, fn func() error) error {
	const most = 100
	for try := 1; ; try++ {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("unable to create image: %w", err)
		}
		err := fn()
		if err == nil {
			return nil
		}
		if _, e := os.Stat(dir); try == most || !errors.Is(e, fs.ErrNotExist) {
			_ = os.Remove(dir) // where nothing else is in it
			return err
		}
	}
}

// free finds a name that no volume of the guest has, in any format.
func (p *pool) free(ctx context.Context, dir string, guest id.VM, format string) (string, error) {
	used := map[int]bool{}
	files, err := names(dir)
	if err != nil {
		return "", err
	}
	for _, file := range files {
		if m := numbered.FindStringSubmatch(file); m != nil && m[1] == guest.String() {
			number, _ := strconv.Atoi(m[2])
			used[number] = true
		}
	}
	for number := range mostImages {
		stem := fmt.Sprintf("vm-%s-disk-%d", guest, number)
		container := fmt.Sprintf("subvol-%s-disk-%d.subvol", guest, number)
		planned := plan.From(ctx) != nil && (taken(ctx, filepath.Join(dir, stem)) || taken(ctx, filepath.Join(dir, container)))
		switch {
		case used[number] || planned:
		case format == "subvol":
			return container, nil
		default:
			return stem + "." + format, nil
		}
	}
	return "", fmt.Errorf("unable to allocate an image name for VM %s in storage '%s'", guest, p.ID)
}

// names lists what is in a folder, sorted; one that is not there holds nothing.
func names(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	found := make([]string, len(list))
	for i, e := range list {
		found[i] = e.Name()
	}
	return found, err
}

// beside lists what lies beside a volume's subvolume and belongs to it: its snapshots and
// what a killed command has left.
func beside(subvol string) ([]string, error) {
	files, err := names(filepath.Dir(subvol))
	return slices.DeleteFunc(files, func(file string) bool {
		return !strings.HasPrefix(file, filepath.Base(subvol)+"@")
	}), err
}

// locked runs fn under the storage's lock; a dry run needs none.
func (p *pool) locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return p.Lock(ctx, fn)
}
