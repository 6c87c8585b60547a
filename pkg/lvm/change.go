package lvm

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// Create makes a volume on extents of its own, active on this host alone. What its
// first sectors have of file systems is wiped. The size in KiB is rounded up to extents.
func (t Tool) Create(ctx context.Context, group, name string, kib int64, tags ...string) error {
	args := []string{"-aly", "-Wy", "--yes", "--size", strconv.FormatInt(max(kib, 1), 10) + "k", "--name", name, "--setautoactivation", "n"}
	for _, tag := range tags {
		args = append(args, "--addtag", tag)
	}
	return t.change(ctx, "lvcreate '"+group+"/"+name+"'", "lvcreate", append(args, group)...)
}

// CreateThin makes a volume in a thin pool.
func (t Tool) CreateThin(ctx context.Context, group, pool, name string, kib int64) error {
	return t.change(ctx, "lvcreate '"+group+"/"+name+"'", "lvcreate",
		"-aly", "-V", strconv.FormatInt(max(kib, 1), 10)+"k", "--name", name, "--thinpool", group+"/"+pool)
}

// Snapshot keeps the state of a thin volume: read-only, and not made active with the
// others.
func (t Tool) Snapshot(ctx context.Context, group, origin, name string) error {
	return t.change(ctx, "lvcreate snapshot '"+group+"/"+name+"'", "lvcreate", "-n", name, "-pr", "-s", group+"/"+origin)
}

// Fork makes a thin volume that begins with the content of another.
func (t Tool) Fork(ctx context.Context, group, origin, name string) error {
	return t.change(ctx, "clone image '"+group+"/"+origin+"'", "lvcreate", "-n", name, "-prw", "-kn", "-s", group+"/"+origin)
}

// NoAutoActivation keeps a volume from being made active when the host starts. It is
// for thin volumes, which cannot be made that way.
func (t Tool) NoAutoActivation(ctx context.Context, group, name string) error {
	return t.change(ctx, "lvchange '"+group+"/"+name+"'", "lvchange", "--setautoactivation", "n", group+"/"+name)
}

// Remove removes volumes. One that something uses is ErrInUse.
func (t Tool) Remove(ctx context.Context, group string, names ...string) error {
	for _, name := range names {
		if err := t.change(ctx, "lvremove '"+group+"/"+name+"'", "lvremove", "-f", group+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// Rename renames a volume, which may be in use. A name that is taken is ErrExists.
func (t Tool) Rename(ctx context.Context, group, from, to string) error {
	return t.change(ctx, "lvrename '"+group+"/"+from+"' to '"+group+"/"+to+"'", "lvrename", group, from, to)
}

// Extend makes a volume larger. The size in KiB is rounded up to extents.
func (t Tool) Extend(ctx context.Context, group, name string, kib int64) error {
	return t.change(ctx, "error resizing volume '/dev/"+group+"/"+name+"': lvextend", "lvextend",
		"-L", strconv.FormatInt(kib, 10)+"k", group+"/"+name)
}

// Retag replaces tags of a volume.
func (t Tool) Retag(ctx context.Context, group, name string, remove, add []string) error {
	var args []string
	for _, tag := range remove {
		args = append(args, "--deltag", tag)
	}
	for _, tag := range add {
		args = append(args, "--addtag", tag)
	}
	if len(args) == 0 {
		return nil
	}
	return t.change(ctx, "lvchange '"+group+"/"+name+"'", "lvchange", append(args, group+"/"+name)...)
}

// MakeBase makes a thin volume inactive, read-only and not to be made active with the
// others.
func (t Tool) MakeBase(ctx context.Context, group, name string) error {
	return t.change(ctx, "lvchange '"+group+"/"+name+"'", "lvchange", "-an", "-pr", "-ky", group+"/"+name)
}

// Activate makes a volume usable, on this host alone.
func (t Tool) Activate(ctx context.Context, group, name string) error {
	return t.change(ctx, "can't activate LV '/dev/"+group+"/"+name+"': lvchange", "lvchange", "-aey", group+"/"+name)
}

// Refresh makes an active volume what it is now: another host may have changed it.
func (t Tool) Refresh(ctx context.Context, group, name string) error {
	return t.change(ctx, "can't refresh LV '/dev/"+group+"/"+name+"' for activation: lvchange", "lvchange", "--refresh", group+"/"+name)
}

// ActivateSkipped makes volumes usable that are not made active with the others.
func (t Tool) ActivateSkipped(ctx context.Context, group string, names ...string) error {
	for _, name := range names {
		if err := t.change(ctx, "activating LV '"+group+"/"+name+"' failed: lvchange", "lvchange", "-ay", "-K", group+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// Deactivate makes volumes unusable on this host.
func (t Tool) Deactivate(ctx context.Context, group string, names ...string) error {
	for _, name := range names {
		if err := t.change(ctx, "can't deactivate LV '/dev/"+group+"/"+name+"': lvchange", "lvchange", "-aln", group+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// DeactivateGroup makes all volumes of a group unusable on this host.
func (t Tool) DeactivateGroup(ctx context.Context, group string) error {
	return t.change(ctx, "can't deactivate VG '"+group+"': vgchange", "vgchange", "-aln", group)
}

// CreatePV makes a device a physical volume. Its data begins at a multiple of 128 KiB, as
// flash likes it.
func (t Tool) CreatePV(ctx context.Context, device string) error {
	return t.change(ctx, "pvcreate '"+device+"'", "pvcreate", "--metadatasize", "250k", device)
}

// RemovePV makes a device that is in no group none of LVM's.
func (t Tool) RemovePV(ctx context.Context, device string) error {
	return t.change(ctx, "pvremove '"+device+"'", "pvremove", device)
}

// CreateGroup makes a volume group of a device.
func (t Tool) CreateGroup(ctx context.Context, group, device string) error {
	return t.change(ctx, "vgcreate "+group+" "+device, "vgcreate", group, device)
}

// Mapper returns the name that the device-mapper has for a volume.
func Mapper(group, name string) string { return double(group) + "-" + double(name) }

// double writes a name so that its hyphens are told from those between names.
func double(name string) string {
	text := make([]byte, 0, len(name)+4)
	for i := range len(name) {
		if text = append(text, name[i]); name[i] == '-' {
			text = append(text, '-')
		}
	}
	return string(text)
}

// same tells whether two paths are those of one device.
func same(a, b string) bool {
	if a == b {
		return true
	}
	if a == "" || b == "" {
		return false
	}
	if x, err := filepath.EvalSymlinks(a); err == nil {
		if y, err := filepath.EvalSymlinks(b); err == nil && x == y {
			return true
		}
	}
	st, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(st, other)
}
