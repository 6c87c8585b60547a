package lxc

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
)

func (s *Service) snapshotListMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "list", Verb: "GET", Path: "/nodes/{node}/lxc/{vmid}/snapshot",
			Doc: "List the snapshots of a container.", ProxyTo: "node", Protected: true, Permissions: auditCT(),
		}, s.snapshots),
	}
}

// snapshotItem is one snapshot, or the current state, which is called current.
type snapshotItem struct {
	Description string  `pve:"description" doc:"What the user noted."`
	Digest      *string `pve:"digest" doc:"SHA-1 of the configuration file."`
	Name        string  `pve:"name" doc:"Name of the snapshot; current for what holds now."`
	Parent      *string `pve:"parent" doc:"Snapshot that this one came after."`
	Running     *bool   `pve:"running" doc:"The container runs."`
	SnapTime    *int64  `pve:"snaptime" doc:"When it was made, in seconds since 1970." renderer:"timestamp"`
}

func (s *Service) snapshots(ctx context.Context, req target) ([]snapshotItem, error) {
	doc, err := s.CTs.Load(ctx, req.VMID)
	if err != nil {
		return nil, err
	}
	running, err := s.CTs.Running(ctx, req.VMID)
	if err != nil {
		return nil, err
	}
	return append(snapshotItems(doc), snapshotItem{
		Name: "current", Description: "You are here!", Parent: parentOf(doc.Values), Running: &running, Digest: &doc.Digest,
	}), nil
}

func snapshotItems(doc *config.Doc) []snapshotItem {
	var items []snapshotItem
	for _, name := range slices.Sorted(maps.Keys(doc.Snapshots)) {
		values := doc.Snapshots[name]
		item := snapshotItem{Name: name, Description: values[config.Description], Parent: parentOf(values), SnapTime: new(int64(0))}
		if n, err := strconv.ParseInt(values["snaptime"], 10, 64); err == nil {
			item.SnapTime = &n
		}
		items = append(items, item)
	}
	return items
}

func parentOf(values map[string]string) *string {
	if parent, ok := values["parent"]; ok {
		return &parent
	}
	return nil
}
