package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// sendable tells whether btrfs send can make the stream: of snapshots, which must be
// listed where some are there already.
func sendable(n storage.Name, s storage.Stream) bool {
	return own(n) && s.Snapshot != "" && (s.Base == "" || !s.All || len(s.Snapshots) > 0)
}

// ExportFormats returns the formats in which a volume can be written, the best one first.
func (p *pool) ExportFormats(ctx context.Context, name string, s storage.Stream) []string {
	n, err := p.Parse(name)
	if err != nil {
		return nil
	}
	if sendable(n, s) {
		return []string{"btrfs"}
	}
	return p.Tree.ExportFormats(ctx, name, s)
}

// Export writes a volume as a stream.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.Export(ctx, w, name, s)
	case s.Format == "btrfs":
		return p.send(ctx, w, name, n, subvol, s)
	case !slices.Contains(p.ExportFormats(ctx, name, s), s.Format):
		return storage.NoExport(p.Type, s.Format)
	case !isSubvolume(subvol):
		return storage.ErrNotExist
	case n.Format == "subvol":
		return tree.ExportFolder(ctx, p.Env, w, subvol)
	}
	return storage.ExportRaw(ctx, w, inside(n, subvol), s)
}

// send writes snapshots as btrfs has them.
func (p *pool) send(ctx context.Context, w io.Writer, name string, n storage.Name, subvol string, s storage.Stream) error {
	switch {
	case s.Snapshot == "":
		return errors.New("format 'btrfs' only works on snapshots")
	case !sendable(n, s):
		return errors.New("'btrfs' format in incremental mode requires snapshots to be listed explicitly")
	}
	snaps, err := p.wanted(ctx, name, s)
	if err != nil {
		return err
	}
	args := []string{"-q", "send", "-e"}
	if s.Base != "" {
		if err := has(ctx, name, subvol, s.Base); err != nil {
			return err
		}
		args = append(args, "-p", subvol+"@"+s.Base)
	}
	args = append(args, "--")
	for _, snap := range snaps {
		if err := has(ctx, name, subvol, snap); err != nil {
			return err
		}
		args = append(args, subvol+"@"+snap)
	}
	if err := p.Runner.Run(ctx, run.Cmd{
		Path: "btrfs", Args: args, Env: []string{"LC_ALL=C"}, ReadOnly: true,
		Stdout: storage.ProgramOutput(ctx, w), Stderr: api.StreamsOf(ctx).Err,
	}); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	return nil
}

// wanted lists the snapshots of a stream, the one that is its present state last.
func (p *pool) wanted(ctx context.Context, name string, s storage.Stream) ([]string, error) {
	list := slices.Clone(s.Snapshots)
	if s.All && len(list) == 0 {
		all, err := p.Snapshots(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, snap := range all {
			if snap.Name == s.Snapshot {
				break // what is newer is not part of it
			}
			list = append(list, snap.Name)
		}
	}
	list = slices.DeleteFunc(list, func(snap string) bool { return snap == s.Snapshot || snap == s.Base })
	return append(list, s.Snapshot), nil
}
