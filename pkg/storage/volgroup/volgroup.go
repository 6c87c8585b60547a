// Package volgroup keeps volumes as logical volumes of a volume group of LVM: what the
// storage types have in common whose volumes are such.
//
// Types embed a [Group] and add of what their volumes are made. Beside volumes, which
// begin with vm- or base-, a group has others in between steps:
//
//	next_NAME    what takes the place of NAME: complete, but not in its place yet
//	merged_NAME  what has NAME's content and takes its place, NAME being there or not
//	del-NAME     what is about to be removed
//
// LVM changes one name at a time, so a kill can leave them. [Group.Settle] finishes what
// was begun; it is asked by whatever looks for a volume.
package volgroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Group is a volume group that holds volumes.
type Group struct {
	storage.Env
	VG   string
	Tool lvm.Tool
	Dev  string // where devices are; /dev but in tests
	// Mine tells whether a logical volume is a volume of the storage. Only its name is
	// looked at before.
	Mine func(lvm.Volume) bool
}

// New returns a group.
func New(env storage.Env, vg string, mine func(lvm.Volume) bool) Group {
	return Group{Env: env, VG: vg, Tool: lvm.Tool{Runner: env.Runner}, Dev: "/dev", Mine: mine}
}

// The prefixes of what is between steps.
const (
	Next    = "next_"
	Merged  = "merged_"
	Deleted = "del-"
)

// mostVolumes bounds how many volumes a guest has on one storage.
const mostVolumes = 1024

var (
	legal   = pattern.New(`^[a-zA-Z0-9][a-zA-Z0-9\-_.]*[a-zA-Z0-9]$`)
	imageOf = pattern.New(`^(vm|base)-(\d+)-\S+$`)
)

// Parse reads the name of a volume: vm-100-disk-0, or base-100-disk-0.
func Parse(name string) (storage.Name, error) {
	if !legal.MatchString(name) {
		return storage.Name{}, fmt.Errorf("lvm name '%s' contains illegal characters", name)
	}
	m := imageOf.FindStringSubmatch(name)
	if m == nil {
		return storage.Name{}, fmt.Errorf("unable to parse lvm volume name '%s'", name)
	}
	n, err := strconv.ParseInt(m[2], 10, 32)
	// A number with zeros before it would be that of another guest's volume.
	if err != nil || strconv.FormatInt(n, 10) != m[2] {
		return storage.Name{}, fmt.Errorf("unable to parse lvm volume name '%s'", name)
	}
	return storage.Name{Content: storage.Images, File: name, Guest: id.VM(n), IsBase: m[1] == "base", Format: "raw"}, nil
}

// Device returns where a logical volume is found when it is active.
func (g *Group) Device(lv string) string { return filepath.Join(g.Dev, g.VG, lv) }

// Activate checks that the group is there.
func (g *Group) Activate(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(g.Dev, g.VG)); err == nil {
		return nil // some of its volumes are active
	}
	_, err := g.group(ctx)
	return err
}

// group reports on the group.
func (g *Group) group(ctx context.Context) (lvm.Group, error) {
	groups, err := g.Tool.Groups(ctx, g.VG)
	if errors.Is(err, lvm.ErrMissing) || err == nil && len(groups) != 1 {
		return lvm.Group{}, storage.Told(fmt.Sprintf("no such volume group '%s'", g.VG), lvm.ErrMissing)
	}
	if err != nil {
		return lvm.Group{}, fmt.Errorf("storage '%s': %w", g.ID, err)
	}
	return groups[0], nil
}

// Deactivate makes all volumes of the group unusable on this host.
func (g *Group) Deactivate(ctx context.Context) error { return g.Tool.DeactivateGroup(ctx, g.VG) }

// GroupStatus returns how full the group is.
func (g *Group) GroupStatus(ctx context.Context) (storage.Status, error) {
	now, err := g.group(ctx)
	return storage.Status{Total: now.Size, Used: now.Size - now.Free, Available: now.Free}, err
}

// All reports on the logical volumes of the group.
func (g *Group) All(ctx context.Context) ([]lvm.Volume, error) {
	all, err := g.Tool.Volumes(ctx, g.VG)
	if errors.Is(err, lvm.ErrMissing) {
		return nil, storage.Told(fmt.Sprintf("no such volume group '%s'", g.VG), lvm.ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("storage '%s': %w", g.ID, err)
	}
	return all, nil
}

// Lookup finds a logical volume by name.
func Lookup(all []lvm.Volume, name string) (lvm.Volume, bool) {
	i := slices.IndexFunc(all, func(v lvm.Volume) bool { return v.Name == name })
	if i < 0 {
		return lvm.Volume{}, false
	}
	return all[i], true
}

// Find reports on a volume and on all of its group. One that is not there is
// ErrNotExist, and one that only a dry run has made has no attributes.
func (g *Group) Find(ctx context.Context, name string) (lvm.Volume, []lvm.Volume, error) {
	if p := plan.From(ctx); p != nil {
		if text, ok := p.Read(g.Device(name)); ok && text != nil {
			return lvm.Volume{Group: g.VG, Name: name}, nil, nil
		} else if ok {
			return lvm.Volume{}, nil, g.missing(name)
		}
	}
	all, err := g.All(ctx)
	if err != nil {
		return lvm.Volume{}, nil, err
	}
	if all, err = g.Settle(ctx, all, name); err != nil {
		return lvm.Volume{}, nil, err
	}
	v, ok := Lookup(all, name)
	if !ok || !g.Mine(v) {
		return v, all, g.missing(name)
	}
	return v, all, nil
}

func (g *Group) missing(name string) error {
	return storage.Told("no such logical volume "+g.VG+"/"+name, storage.ErrNotExist)
}

// Settle finishes a change of a volume's place that was cut off, and returns the
// volumes there are then.
func (g *Group) Settle(ctx context.Context, all []lvm.Volume, name string) ([]lvm.Volume, error) {
	_, there := Lookup(all, name)
	_, next := Lookup(all, Next+name)
	_, merged := Lookup(all, Merged+name)
	if plan.From(ctx) != nil || !merged && (there || !next) {
		return all, nil
	}
	err := g.Lock(ctx, func(ctx context.Context) (err error) {
		if all, err = g.All(ctx); err != nil { // as it is under the lock
			return err
		}
		_, there = Lookup(all, name)
		if _, merged = Lookup(all, Merged+name); merged {
			if _, err := g.replace(ctx, all, Merged+name, name); err != nil {
				return err
			}
		} else if _, next = Lookup(all, Next+name); next && !there {
			if err := g.Tool.Rename(ctx, g.VG, Next+name, name); err != nil {
				return err
			}
		}
		all, err = g.All(ctx)
		return err
	})
	return all, err
}

// TakePlace puts a logical volume that is complete, and named with one of the prefixes, in
// the place of another. It returns what that is called now, to be removed; nothing where
// there was none. It needs the lock.
func (g *Group) TakePlace(ctx context.Context, by, name string) (buried string, err error) {
	var all []lvm.Volume
	if plan.From(ctx) == nil {
		if all, err = g.All(ctx); err != nil {
			return "", err
		}
	} else {
		all = []lvm.Volume{{Name: name}}
	}
	return g.replace(ctx, all, by, name)
}

func (g *Group) replace(ctx context.Context, all []lvm.Volume, by, name string) (buried string, err error) {
	if _, there := Lookup(all, name); there {
		if buried, err = g.bury(ctx, all, name); err != nil {
			return "", err
		}
	}
	return buried, g.Tool.Rename(ctx, g.VG, by, name)
}

// Bury gives a logical volume the name of one that is to be removed, and returns that.
// It needs the lock.
func (g *Group) Bury(ctx context.Context, name string) (string, error) {
	if plan.From(ctx) != nil {
		return g.bury(ctx, nil, name)
	}
	all, err := g.All(ctx)
	if err != nil {
		return "", err
	}
	return g.bury(ctx, all, name)
}

func (g *Group) bury(ctx context.Context, all []lvm.Volume, name string) (string, error) {
	to := Deleted + name
	for {
		if _, taken := Lookup(all, to); !taken {
			return to, g.Tool.Rename(ctx, g.VG, name, to)
		}
		to = Deleted + to
	}
}

// Buried returns which volume, or state of one, a logical volume was that is to be removed;
// empty where it is none of ours.
func Buried(lv string) string {
	name, ok := strings.CutPrefix(lv, Deleted)
	if !ok {
		return ""
	}
	for strings.HasPrefix(name, Deleted) {
		name = name[len(Deleted):]
	}
	if _, err := Parse(strings.TrimPrefix(name, "snap_")); err != nil {
		return ""
	}
	return name
}

// Locked runs fn under the lock of the storage; a dry run needs none.
func (g *Group) Locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return g.Lock(ctx, fn)
}

// Check fails where a guest's volume cannot have a name.
func (g *Group) Check(guest id.VM, file string) error {
	n, err := Parse(file)
	if err != nil || n.IsBase || n.Guest != guest {
		return fmt.Errorf("illegal name '%s' - should be 'vm-%s-*'", file, guest)
	}
	return nil
}

// Reserve runs fill, which makes a logical volume, with the name it is to have: the one
// that is given, or one that is free, with the suffix. It holds the lock of the storage
// meanwhile.
func (g *Group) Reserve(ctx context.Context, guest id.VM, file, suffix string, fill func(ctx context.Context, name string, all []lvm.Volume) error) (string, error) {
	if file != "" {
		if err := g.Check(guest, file); err != nil {
			return "", err
		}
	}
	name := file
	err := g.Locked(ctx, func(ctx context.Context) error {
		all, err := g.All(ctx)
		if err != nil {
			return err
		}
		if name == "" {
			if name, err = g.free(ctx, all, guest, suffix); err != nil {
				return err
			}
		} else if g.taken(ctx, all, name) {
			return g.exists(name)
		}
		err = fill(ctx, name, all)
		if errors.Is(err, lvm.ErrExists) {
			err = errors.Join(g.exists(name), err)
		}
		if p := plan.From(ctx); p != nil && err == nil {
			p.Write(g.Device(name), new(""))
		}
		return err
	})
	return name, err
}

func (g *Group) exists(name string) error {
	return storage.Told(fmt.Sprintf("logical volume '%s/%s' already exists", g.VG, name), storage.ErrExists)
}

// taken tells whether a name is that of a volume, or would be after a dry run, or that
// of one whose change of place was cut off.
func (g *Group) taken(ctx context.Context, all []lvm.Volume, name string) bool {
	if p := plan.From(ctx); p != nil {
		if text, ok := p.Read(g.Device(name)); ok {
			return text != nil
		}
	}
	for _, n := range []string{name, Next + name, Merged + name} {
		if _, ok := Lookup(all, n); ok {
			return true
		}
	}
	return false
}

// numbered is how volumes are named that the storage chose the name of.
var numbered = pattern.New(`^(?:` + Next + `|` + Merged + `)?(?:vm|base)-(\d+)-disk-(\d+)(?:\..*)?$`)

// free finds a name whose number no volume of the guest has.
func (g *Group) free(ctx context.Context, all []lvm.Volume, guest id.VM, suffix string) (string, error) {
	used := map[string]bool{}
	for _, v := range all {
		if m := numbered.FindStringSubmatch(v.Name); m != nil && m[1] == guest.String() {
			used[m[2]] = true
		}
	}
	for n := range mostVolumes {
		name := fmt.Sprintf("vm-%s-disk-%d", guest, n)
		if used[strconv.Itoa(n)] || g.taken(ctx, nil, name) || g.taken(ctx, nil, name+".qcow2") {
			continue
		}
		return name + suffix, nil
	}
	return "", fmt.Errorf("unable to allocate an image name for VM %s in storage '%s'", guest, g.ID)
}

// List returns the volumes of the storage that the filter lets through, as info sees them.
func (g *Group) List(ctx context.Context, f storage.Filter, parse func(string) (storage.Name, error), info func(lvm.Volume) storage.Info) ([]storage.Volume, error) {
	if !slices.Contains(f.Content, storage.Images) && !slices.Contains(f.Content, storage.Rootdir) {
		return nil, nil
	}
	all, err := g.All(ctx)
	if err != nil {
		return nil, err
	}
	kinds, err := g.Guests(ctx)
	if err != nil {
		return nil, err
	}
	found := map[storage.Content][]storage.Volume{}
	for _, lv := range all {
		n, err := parse(lv.Name)
		if err != nil || !g.Mine(lv) || f.Guest != 0 && n.Guest != f.Guest {
			continue
		}
		seen := info(lv)
		v := storage.Volume{
			Name: lv.Name, Content: storage.Images, Format: seen.Format, Size: seen.Size, Used: seen.Used,
			Created: lv.Created, Guest: n.Guest, Parent: seen.Parent,
		}
		if kinds[n.Guest] == "lxc" {
			v.Content = storage.Rootdir
		}
		found[v.Content] = append(found[v.Content], v)
	}
	var list []storage.Volume
	for _, c := range f.Content {
		slices.SortFunc(found[c], func(a, b storage.Volume) int { return cmp.Compare(a.Name, b.Name) })
		list = append(list, found[c]...)
	}
	return list, nil
}

// Rename gives a volume another name, which may be that of another guest's.
func (g *Group) Rename(ctx context.Context, name string, guest id.VM, file, suffix string) (string, error) {
	if _, _, err := g.Find(ctx, name); err != nil {
		return "", err
	}
	renamed, err := g.Reserve(ctx, guest, file, suffix, func(ctx context.Context, to string, _ []lvm.Volume) error {
		return g.Tool.Rename(ctx, g.VG, name, to)
	})
	if errors.Is(err, storage.ErrExists) {
		return "", storage.Told(fmt.Sprintf("target volume '%s' already exists", renamed), storage.ErrExists)
	}
	if p := plan.From(ctx); p != nil && err == nil {
		p.Write(g.Device(name), nil)
	}
	return renamed, err
}

// Absent tells the user that what is to be removed is not there.
func (g *Group) Absent(ctx context.Context, name string) {
	fmt.Fprintf(api.StreamsOf(ctx).Err, "logical volume '%s/%s' does not exist\n", g.VG, name)
}

// InUse gives the error of removing what something uses the text that says so.
func (g *Group) InUse(name string, err error) error {
	if errors.Is(err, lvm.ErrInUse) {
		return errors.Join(storage.Told(fmt.Sprintf("logical volume '%s/%s' is in use: %v", g.VG, name, err), storage.ErrInUse))
	}
	return err
}

// Exist makes the error of a volume that LVM does not find that of the contract.
func (g *Group) Exist(name string, err error) error {
	if errors.Is(err, lvm.ErrMissing) {
		return g.missing(name)
	}
	return err
}

// Extents returns a size in bytes as LVM rounds it.
func Extents(size, extent int64) int64 {
	if extent <= 0 {
		return size
	}
	return (size + extent - 1) / extent * extent
}

// Grow makes a logical volume at least as large as the given size in bytes. One that is
// large enough stays as it is, unless that would be shrinking by more than what is
// rounded up.
func (g *Group) Grow(ctx context.Context, v lvm.Volume, size int64, shrink bool) error {
	if size <= v.Size && v.Size > 0 {
		if shrink {
			return nil
		}
		now, err := g.group(ctx)
		if err != nil {
			return err
		}
		if Extents(size, now.Extent) < v.Size {
			return fmt.Errorf("unable to shrink volume '%s' from %d to %d bytes", v.Name, v.Size, size)
		}
		return nil
	}
	return g.Locked(ctx, func(ctx context.Context) error {
		return g.Full(ctx, g.Tool.Extend(ctx, g.VG, v.Name, (size+1023)/1024), size)
	})
}

// Full gives the error of a group without space upstream's text.
func (g *Group) Full(ctx context.Context, err error, size int64) error {
	failed, ok := errors.AsType[*lvm.Error](err)
	if !ok || !errors.Is(failed.Kind, syscall.ENOSPC) {
		return err
	}
	now, lost := g.group(ctx)
	if lost != nil {
		return err
	}
	return storage.Told(fmt.Sprintf("not enough free space (%d < %d): %v", now.Free, size, err), err)
}

// Guest returns the tag by which volumes are known to be a guest's.
func Guest(guest id.VM) string { return "pve-vm-" + guest.String() }

// Tagged tells whether a logical volume is known to be a guest's.
func Tagged(v lvm.Volume) bool {
	return slices.ContainsFunc(v.Tags, func(tag string) bool {
		rest, ok := strings.CutPrefix(tag, "pve-vm-")
		return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
	})
}
