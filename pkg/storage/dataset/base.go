package dataset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// baseSnapshot is the state of a base that linked clones are made of.
const baseSnapshot = "__base__"

// CreateBase turns a volume into a base: renamed, and with a state that is cloned from.
func (v *Volumes) CreateBase(ctx context.Context, name string) (string, error) {
	n, _, err := v.find(name)
	if err != nil {
		return "", err
	}
	if n.IsBase {
		return "", errors.New("create_base not possible with base image")
	}
	file := storage.BaseFile(n.File)
	if n.Format == "subvol" {
		file = "basevol-" + strings.TrimPrefix(n.File, "subvol-")
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	if _, err := v.move(ctx, n, func(context.Context) (string, error) { return file, nil }, undo); err != nil {
		return "", err
	}
	if err := v.keep(ctx, n.Format, v.Dataset(file), baseSnapshot); err != nil {
		return "", err
	}
	undo.Success()
	return volume(n.Base, file), nil
}

// move gives a volume another name, which pick returns under the lock and which must be
// free. undo learns how to take it back.
func (v *Volumes) move(ctx context.Context, n storage.Name, pick func(context.Context) (string, error), undo *revert.List) (file string, err error) {
	if err := v.shut(ctx, n.File, n.Format); err != nil {
		return "", err
	}
	from := v.Dataset(n.File)
	undo.Add("open "+from, func(ctx context.Context) error { return v.open(ctx, n.File, n.Format, true) })
	if err := v.locked(ctx, func(ctx context.Context) error {
		if file, err = pick(ctx); err != nil {
			return err
		}
		err := v.ZFS.Rename(ctx, from, v.Dataset(file))
		if errors.Is(err, zfs.ErrExists) {
			return storage.Told("target volume '"+file+"' already exists", storage.ErrExists)
		}
		return absent(err)
	}); err != nil {
		return "", err
	}
	to := v.Dataset(file)
	note(ctx, from, false)
	note(ctx, to, true)
	undo.Add("rename "+to+" back", func(ctx context.Context) error { return v.ZFS.Rename(ctx, to, from) })
	if err := v.open(ctx, file, n.Format, false); err != nil {
		return "", err
	}
	undo.Add("close "+to, func(ctx context.Context) error { return v.shut(ctx, file, n.Format) })
	return file, nil
}

// RenameTo gives a volume to a guest, under a name of the storage's choice where none is
// given.
func (v *Volumes) RenameTo(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	n, _, err := v.find(name)
	if err != nil {
		return "", err
	}
	if t, err := Parse(file); file != "" && (err != nil || t.Base != "" || t.Format != n.Format || t.Guest != guest) {
		return "", fmt.Errorf("illegal name '%s' - should be '%s*'", file, prefix(n.Format, guest))
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	file, err = v.move(ctx, n, func(ctx context.Context) (string, error) {
		if file != "" {
			return file, nil
		}
		return v.choose(ctx, guest, n.Format, "")
	}, undo)
	if err != nil {
		return "", err
	}
	undo.Success()
	return volume(n.Base, file), nil
}

// Clone makes a linked clone of a base.
func (v *Volumes) Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error) {
	n, dataset, err := v.find(name)
	if err != nil {
		return "", err
	}
	if !n.IsBase {
		return "", errors.New("clone_image only works on base images")
	}
	if snap == "" {
		snap = baseSnapshot
	}
	if err := checkSnapshot(snap); err != nil {
		return "", err
	}
	file, err := v.make(ctx, guest, n.Format, "", func(ctx context.Context, clone string) error {
		var properties []string
		if n.Format == "subvol" {
			values, err := v.ZFS.Get(ctx, dataset, "refquota")
			if err != nil {
				return absent(err)
			}
			properties = append(properties, "refquota="+values[0])
		}
		return absent(v.ZFS.Clone(ctx, dataset+"@"+snap, clone, properties...))
	})
	if err != nil {
		return "", err
	}
	return volume(n.File, file), nil
}
