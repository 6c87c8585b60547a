// Package lvm is the storage type of a volume group of LVM.
//
// Volumes are logical volumes with extents of their own. They have no snapshots, but
// those that hold a qcow2 image can be chains of them: the states that were kept are
// logical volumes too, and the present one holds what has changed since.
package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// Config is what storage.cfg says of a volume group.
type Config struct {
	storage.Common
	storage.Limited
	VGName               string  `pve:"vgname" fixed:"1" format:"pve-storage-vgname" doc:"Volume group in which the volumes lie."`
	Base                 *string `pve:"base" fixed:"1" format:"pve-volume-id" doc:"Volume of another storage that the volume group lies on."`
	SafeRemove           *bool   `pve:"saferemove" doc:"Overwrite volumes with zeros when they are removed."`
	SafeRemoveStepSize   *int    `pve:"saferemove-stepsize" enum:"1|2|4|8|16|32" default:"32" doc:"How much is overwritten at once, in MiB."`
	SafeRemoveThroughput *string `pve:"saferemove_throughput" doc:"Bytes per second that are overwritten, where the device needs the data."`
	TaggedOnly           *bool   `pve:"tagged_only" doc:"Use only logical volumes that have a tag pve-vm-ID."`
	Shared               *bool   `pve:"shared" doc:"The volume group is the same on all nodes."`
	Chain                *bool   `pve:"snapshot-as-volume-chain" default:"0" doc:"Keep snapshots as volumes that the present one is backed by."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "lvm",
		Contents: []storage.Content{storage.Images, storage.Rootdir},
		Default:  []storage.Content{storage.Images},
		Formats:  []string{"raw", "qcow2"},
		FormatsOf: func(options schema.Params) []string {
			if on, _ := schema.ParseBool(options["snapshot-as-volume-chain"]); on {
				return []string{"qcow2", "raw"}
			}
			return []string{"raw"}
		},
	}, open)
}

// A pool is a volume group.
type pool struct {
	volgroup.Group
	base   *id.Volume
	chain  bool
	shared bool
	wipe   *wipe // nil removes volumes as they are
}

func is(option *bool) bool { return option != nil && *option }

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{chain: is(c.Chain), shared: is(c.Shared)}
	p.Group = volgroup.New(env, c.VGName, func(v lvm.Volume) bool {
		return v.Plain() && (!is(c.TaggedOnly) || volgroup.Tagged(v))
	})
	if c.Base != nil {
		v, err := id.ParseVolume(*c.Base)
		if err != nil {
			return nil, fmt.Errorf("storage '%s': base: %w", env.ID, err)
		}
		p.base = &v
	}
	if is(c.SafeRemove) {
		w, err := newWipe(c.SafeRemoveStepSize, c.SafeRemoveThroughput)
		if err != nil {
			return nil, fmt.Errorf("storage '%s': %w", env.ID, err)
		}
		p.wipe = w
	}
	return p, nil
}

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) {
	n, err := volgroup.Parse(name)
	if err == nil && n.IsBase {
		return storage.Name{}, fmt.Errorf("unable to parse lvm volume name '%s'", name)
	}
	if strings.HasSuffix(name, suffix) {
		n.Format = "qcow2"
	}
	return n, err
}

// suffix is how volumes end that hold a qcow2 image.
const suffix = ".qcow2"

// suffixOf is how volumes with a format end.
func suffixOf(format string) string {
	if format == "qcow2" {
		return suffix
	}
	return ""
}

// Path returns where QEMU finds a volume, or its state in a snapshot.
func (p *pool) Path(name, snap string) (string, error) {
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	if snap == "" {
		return p.Device(name), nil
	}
	if n.Format != "qcow2" {
		return "", errors.New("snapshot is working with qcow2 format only")
	}
	return p.Device(volgroup.StateName(name, snap, suffix)), nil
}

// Blockdev returns how QEMU reaches a volume, which may not be active yet.
func (p *pool) Blockdev(name string) (map[string]any, error) {
	path, err := p.Path(name, "")
	return map[string]any{"driver": "host_device", "filename": path}, err
}

// Image returns how qemu-img is told of a volume. A state of it is an image of its own.
// Targets are written to at once: qemu-img would not learn of what goes wrong later.
func (p *pool) Image(_ context.Context, name, snap string, target bool) (storage.Image, error) {
	n, err := p.Parse(name)
	if err != nil {
		return storage.Image{}, err
	}
	img := storage.Image{Format: n.Format}
	if target {
		img.Cache = "none"
	}
	img.Path, err = p.Path(name, snap)
	return img, err
}

// Has tells whether a volume can do what the feature says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := p.Parse(name)
	if err != nil {
		return false
	}
	switch f {
	case storage.FeatureCopy:
		return snap == "" || n.Format == "qcow2"
	case storage.FeatureRename:
		return snap == ""
	case storage.FeatureSnapshot:
		return n.Format == "qcow2"
	}
	return false
}

// Activate makes what the group lies on ready, and checks that the group is there.
func (p *pool) Activate(ctx context.Context) error {
	if p.base != nil && plan.From(ctx) == nil {
		if _, err := p.Volume(ctx, *p.base); err != nil {
			return fmt.Errorf("storage '%s': base volume '%s': %w", p.ID, p.base, err)
		}
	}
	return p.Group.Activate(ctx)
}

// Status returns how full the group is.
func (p *pool) Status(ctx context.Context) (storage.Status, error) { return p.GroupStatus(ctx) }

// List returns the volumes that the filter lets through. Of an image that is not
// active the size is that of its logical volume: to look is no reason to make it so.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	return p.Group.List(ctx, f, p.Parse, func(v lvm.Volume) storage.Info { return p.look(ctx, v) })
}

func (p *pool) look(ctx context.Context, v lvm.Volume) storage.Info {
	info := storage.Info{Size: v.Size, Used: v.Size, Format: "raw"}
	if !strings.HasSuffix(v.Name, suffix) {
		return info
	}
	info.Format = "qcow2"
	if v.Active() {
		quiet := api.WithStreams(ctx, api.Streams{})
		if image, err := storage.ImageInfo(quiet, p.Env, p.Device(v.Name), "qcow2"); err == nil {
			info.Size, info.Parent = image.Size, image.Parent
		}
	}
	return info
}

// Info looks at a volume.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	n, err := p.Parse(name)
	if err != nil {
		return storage.Info{}, err
	}
	v, _, err := p.find(ctx, name)
	if err != nil || n.Format != "qcow2" || plan.From(ctx) != nil {
		return p.look(ctx, v), err
	}
	if !v.Active() {
		if err := p.activate(ctx, name); err != nil {
			return storage.Info{}, err
		}
		defer func() { _ = p.Tool.Deactivate(context.WithoutCancel(ctx), p.VG, name) }()
	}
	info, err := storage.ImageInfo(ctx, p.Env, p.Device(name), "qcow2")
	info.Used = v.Size
	return info, err
}

// find reports on a volume and the others, after what was cut off is finished.
func (p *pool) find(ctx context.Context, name string) (lvm.Volume, []lvm.Volume, error) {
	v, all, err := p.Find(ctx, name)
	if err != nil || !strings.HasSuffix(name, suffix) {
		return v, all, err
	}
	for _, lv := range all {
		state, ok := strings.CutPrefix(lv.Name, volgroup.Merged)
		if ok && volgroup.StateOf(all, state, name, suffix) != "" {
			if all, err = p.Settle(ctx, all, state); err != nil {
				return v, all, err
			}
		}
	}
	return v, all, nil
}

// Alloc makes a volume.
func (p *pool) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	switch {
	case r.Format == "raw" || r.Format == "qcow2" && p.chain:
	case r.Format == "qcow2":
		return "", fmt.Errorf("unsupported format 'qcow2': storage '%s' has no snapshot-as-volume-chain", p.ID)
	default:
		return "", fmt.Errorf("unsupported format '%s'", r.Format)
	}
	if r.File != "" {
		if err := p.Check(r.Guest, r.File); err != nil {
			return "", err
		}
		if is := strings.HasSuffix(r.File, suffix); is != (r.Format == "qcow2") {
			return "", fmt.Errorf("illegal name '%s' - wrong extension for format '%s'", r.File, r.Format)
		}
	}
	kib := max(r.Size, 1)
	if r.Format == "qcow2" {
		var err error
		if kib, err = p.measure(ctx, r.Size); err != nil {
			return "", err
		}
	}
	name, err := p.Reserve(ctx, r.Guest, r.File, suffixOf(r.Format), func(ctx context.Context, name string, _ []lvm.Volume) error {
		return p.create(ctx, name, r.Guest, kib)
	})
	if err != nil {
		return "", err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("lvremove "+p.VG+"/"+name, func(ctx context.Context) error { return p.Tool.Remove(ctx, p.VG, name) })
	if r.Format == "qcow2" {
		err = p.format(ctx, name, r.Size, "")
	} else {
		err = p.clearEnd(ctx, name, r.Size)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", err
	}
	undo.Success()
	return name, nil
}

// create makes a logical volume.
func (p *pool) create(ctx context.Context, name string, guest id.VM, kib int64) error {
	tags := []string{volgroup.Guest(guest)}
	if strings.HasSuffix(name, suffix) {
		tags = append(tags, groupTag(strings.TrimPrefix(name, volgroup.Next)))
	}
	return p.Full(ctx, p.Tool.Create(ctx, p.VG, name, kib, tags...), kib<<10)
}

// groupTag is the tag that a volume and its states have in common.
func groupTag(name string) string { return "pve-" + name }

// clearEnd overwrites what a logical volume has beyond the size that was asked for: a copy
// leaves there what other guests may have had.
func (p *pool) clearEnd(ctx context.Context, name string, kib int64) error {
	if plan.From(ctx) != nil {
		return nil
	}
	return lvm.Zero(ctx, p.Device(name), max(kib-1, 0)<<10, 0, lvm.ZeroOptions{})
}

// ActivateVolume makes a volume usable, and all that it is backed by.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	if n.Format != "qcow2" && snap != "" {
		return errors.New("snapshot is working with qcow2 format only")
	}
	if n.Format == "raw" {
		err := p.activate(ctx, name)
		if !errors.Is(err, lvm.ErrMissing) {
			return err
		}
		// Perhaps a change of its place was cut off.
		if _, _, err := p.find(ctx, name); err != nil {
			return err
		}
		return p.activate(ctx, name)
	}
	_, all, err := p.find(ctx, name)
	if err != nil {
		return err
	}
	if snap != "" {
		if _, ok := volgroup.Lookup(all, volgroup.StateName(name, snap, suffix)); !ok {
			return storage.Told(fmt.Sprintf("snapshot '%s' does not exist on '%s'", snap, name), storage.ErrNotExist)
		}
	}
	return p.activate(ctx, links(all, name)...)
}

// activate makes logical volumes usable. Where other hosts have no part in the group, one
// that is active is as it should be.
func (p *pool) activate(ctx context.Context, names ...string) error {
	for _, name := range names {
		st, err := os.Stat(p.Device(name))
		active := err == nil && st.Mode()&os.ModeDevice != 0
		if active && !p.shared {
			continue
		}
		if err := p.Tool.Activate(ctx, p.VG, name); err != nil {
			return err
		}
		if p.shared {
			if err := p.Tool.Refresh(ctx, p.VG, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// links returns the logical volumes that a volume and its states are, the volume first.
func links(all []lvm.Volume, name string) []string {
	found := []string{name}
	for _, lv := range all {
		if volgroup.StateOf(all, lv.Name, name, suffix) != "" {
			found = append(found, lv.Name)
		}
	}
	return found
}

// DeactivateVolume makes a volume unusable, and all that it is backed by.
func (p *pool) DeactivateVolume(ctx context.Context, name, snap string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(p.Device(name)); err != nil && plan.From(ctx) == nil {
		return nil
	}
	names := []string{name}
	if n.Format == "qcow2" && plan.From(ctx) == nil {
		all, err := p.All(ctx)
		if err != nil {
			return err
		}
		names = slices.DeleteFunc(links(all, name), func(link string) bool {
			v, _ := volgroup.Lookup(all, link)
			return !v.Active()
		})
	} else if snap != "" {
		return errors.New("snapshot is working with qcow2 format only")
	}
	return p.Tool.Deactivate(ctx, p.VG, names...)
}

// Resize makes a volume larger. The image of a running guest is QEMU's to grow.
func (p *pool) Resize(ctx context.Context, name string, size int64, running bool) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	v, _, err := p.find(ctx, name)
	if err != nil {
		return err
	}
	if n.Format == "raw" {
		return p.Grow(ctx, v, size, false)
	}
	kib, err := p.measure(ctx, (size+1023)/1024)
	if err != nil {
		return err
	}
	if err := p.Grow(ctx, v, kib<<10, true); err != nil || running {
		return err
	}
	if err := p.ActivateVolume(ctx, name, ""); err != nil {
		return err
	}
	return p.image(ctx, "resize", "-f", "qcow2", p.Device(name), fmt.Sprint(size))
}

// Rename gives a volume to a guest.
func (p *pool) Rename(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	v, all, err := p.find(ctx, name)
	if err != nil {
		return "", err
	}
	if len(links(all, name)) > 1 && n.Format == "qcow2" {
		return "", fmt.Errorf("can't rename volume '%s': it has snapshots, which are volumes of their own", name)
	}
	if file != "" && strings.HasSuffix(file, suffix) != (n.Format == "qcow2") {
		return "", fmt.Errorf("illegal name '%s' - wrong extension for format '%s'", file, n.Format)
	}
	renamed, err := p.Group.Rename(ctx, name, guest, file, suffixOf(n.Format))
	if err != nil {
		return "", err
	}
	remove, add := []string{}, []string{}
	for old, now := range map[string]string{volgroup.Guest(n.Guest): volgroup.Guest(guest), groupTag(name): groupTag(renamed)} {
		if old != now && slices.Contains(v.Tags, old) {
			remove, add = append(remove, old), append(add, now)
		}
	}
	slices.Sort(remove)
	slices.Sort(add)
	if err := p.Tool.Retag(context.WithoutCancel(ctx), p.VG, renamed, remove, add); err != nil {
		api.Warnf(ctx, "%v", err) // the name is what counts
	}
	return renamed, nil
}

// Locate returns the volume that lies at a path.
func (p *pool) Locate(_ context.Context, path string) (storage.Content, string) {
	name, ok := strings.CutPrefix(path, p.Device("")+"/")
	if !ok {
		return "", ""
	}
	if _, err := p.Parse(name); err != nil {
		return "", ""
	}
	if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeDevice == 0 {
		return "", ""
	}
	return storage.Images, name
}

// A Found is a volume group of the host.
type Found struct {
	VG      string `pve:"vg" doc:"Name of the volume group."`
	Size    int64  `pve:"size" doc:"Bytes it has."`
	Free    int64  `pve:"free" doc:"Bytes that no volume has."`
	Volumes int    `pve:"lvcount" doc:"How many logical volumes it has."`
}

// Scan lists the volume groups of the host.
func Scan(ctx context.Context, r run.Runner) ([]Found, error) {
	groups, err := lvm.Tool{Runner: r}.Groups(ctx)
	found := []Found{}
	for _, g := range groups {
		found = append(found, Found{VG: g.Name, Size: g.Size, Free: g.Free, Volumes: g.Volumes})
	}
	return found, err
}

var (
	_ storage.Configurer      = (*pool)(nil)
	_ storage.Resizer         = (*pool)(nil)
	_ storage.Snapshotter     = (*pool)(nil)
	_ storage.Renamer         = (*pool)(nil)
	_ storage.VolumeActivator = (*pool)(nil)
	_ storage.Attacher        = (*pool)(nil)
	_ storage.Imager          = (*pool)(nil)
)
