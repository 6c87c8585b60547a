package zfs

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// A Dataset is a line of a list.
type Dataset struct {
	Name   string
	Volume bool   // a block device; else a file system
	Size   int64  // of a volume, what its users see; of a file system its limit, 0 for none
	Origin string // of a clone, the snapshot it was made of
}

// List returns the volumes and file systems right below parent.
func (t Tool) List(ctx context.Context, parent string) ([]Dataset, error) {
	text, err := t.look(ctx, "zfs", "list", "-o", "name,volsize,origin,type,refquota", "-t", "volume,filesystem", "-d1", "-Hp", parent)
	if err != nil {
		return nil, err
	}
	return parseList(text, parent), nil
}

// parseList reads what zfs list prints of what lies below parent.
func parseList(text, parent string) []Dataset {
	var all []Dataset
	for _, row := range rows(text, 5) {
		d := Dataset{Name: row[0], Volume: row[3] == "volume"}
		if len(d.Name) <= len(parent)+1 || d.Name[:len(parent)+1] != parent+"/" || !d.Volume && row[3] != "filesystem" {
			continue
		}
		if row[2] != "-" {
			d.Origin = row[2]
		}
		size := row[1]
		if !d.Volume {
			size = row[4]
		}
		d.Size, _ = strconv.ParseInt(size, 10, 64) // none is 0
		all = append(all, d)
	}
	return all
}

// Get returns properties of a dataset, in the order asked for. Numbers are exact; what
// a dataset does not have is "-" or "none".
func (t Tool) Get(ctx context.Context, dataset string, properties ...string) ([]string, error) {
	list := properties[0]
	for _, p := range properties[1:] {
		list += "," + p
	}
	text, err := t.look(ctx, "zfs", "get", "-o", "value", "-Hp", list, dataset)
	if err != nil {
		return nil, err
	}
	values := words(text)
	if len(values) != len(properties) {
		return nil, &Error{Said: "unexpected properties of '" + dataset + "': " + text}
	}
	return values, nil
}

// Exists tells whether a dataset or snapshot is there.
func (t Tool) Exists(ctx context.Context, name string) (bool, error) {
	_, err := t.look(ctx, "zfs", "list", "-H", "-o", "name", "-t", "all", "-d0", name)
	if errors.Is(err, ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// A Volume says how to make a block device.
type Volume struct {
	KiB       int64
	Sparse    bool   // take no space before it is written
	BlockSize string // of the dataset; empty for the default of ZFS
}

// CreateVolume makes a block device.
func (t Tool) CreateVolume(ctx context.Context, dataset string, v Volume) error {
	args := []string{"create"}
	if v.Sparse {
		args = append(args, "-s")
	}
	if v.BlockSize != "" {
		args = append(args, "-b", v.BlockSize)
	}
	return t.change(ctx, append(args, "-V", kib(v.KiB), dataset)...)
}

func kib(n int64) string { return strconv.FormatInt(n, 10) + "k" }

// CreateFilesystem makes a file system for containers, which needs ACLs. It may hold
// limit KiB; 0 is no limit.
func (t Tool) CreateFilesystem(ctx context.Context, dataset string, limit int64) error {
	return t.change(ctx, "create", "-o", "acltype=posixacl", "-o", "xattr=sa", "-o", "refquota="+quota(limit), dataset)
}

func quota(limit int64) string {
	if limit == 0 {
		return "none"
	}
	return kib(limit)
}

// SetSize sets the size of a block device, in KiB.
func (t Tool) SetSize(ctx context.Context, dataset string, size int64) error {
	return t.Set(ctx, dataset, "volsize", kib(size))
}

// SetLimit sets how much a file system may hold, in KiB; 0 is no limit.
func (t Tool) SetLimit(ctx context.Context, dataset string, limit int64) error {
	return t.Set(ctx, dataset, "refquota", quota(limit))
}

// Set sets a property of a dataset or snapshot.
func (t Tool) Set(ctx context.Context, dataset, property, value string) error {
	return t.change(ctx, "set", property+"="+value, dataset)
}

// Rename gives a dataset a name that must be free.
func (t Tool) Rename(ctx context.Context, from, to string) error {
	return t.change(ctx, "rename", from, to)
}

// Clone makes a dataset that shares with a snapshot what it has not changed.
// properties are like "refquota=1024".
func (t Tool) Clone(ctx context.Context, snapshot, dataset string, properties ...string) error {
	args := []string{"clone"}
	for _, p := range properties {
		args = append(args, "-o", p)
	}
	return t.change(ctx, append(args, snapshot, dataset)...)
}

// Mount mounts a file system where its properties say. One that is mounted is no
// error.
func (t Tool) Mount(ctx context.Context, dataset string) error {
	err := t.change(ctx, "mount", dataset)
	if e, ok := errors.AsType[*Error](err); ok && contains(e.Said, "already mounted") {
		return nil
	}
	return err
}

// Unmount unmounts a file system. One that is not mounted is no error.
func (t Tool) Unmount(ctx context.Context, dataset string) error {
	err := t.change(ctx, "unmount", dataset)
	if e, ok := errors.AsType[*Error](err); ok && contains(e.Said, "not currently mounted") {
		return nil
	}
	return err
}

// Destroy removes a dataset and its snapshots. While it is busy it is tried again, for
// about six seconds: udev looks into each new block device. One that is not there is
// [ErrNotExist].
func (t Tool) Destroy(ctx context.Context, dataset string) error {
	pause := 50 * time.Millisecond
	for {
		err := t.change(ctx, "destroy", "-r", dataset)
		if !errors.Is(err, ErrBusy) || pause > 4*time.Second {
			return err
		}
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
		pause *= 2
	}
}
