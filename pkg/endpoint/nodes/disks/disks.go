// Package disks has the methods below /nodes/{node}/disks: what disks a node has, and
// how they are.
package disks

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// A Service serves the disks of a node.
type Service struct {
	Disks host.DiskInventory
}

// Methods declares what s serves.
func (s *Service) Methods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "list", Verb: "GET", Path: "/nodes/{node}/disks/list",
			Doc: "List the disks of a node.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.Or(api.Perm("/", "Sys.Audit"), api.Perm("/nodes/{node}", "Sys.Audit"))},
		}, s.list),
		api.New(api.Method{
			Name: "smart", Verb: "GET", Path: "/nodes/{node}/disks/smart",
			Doc: "Tell what a disk says of itself.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.Perm("/", "Sys.Audit")},
		}, s.smart),
	}
}

// inventory is the inventory that warns the caller.
func (s *Service) inventory(ctx context.Context) host.DiskInventory {
	i := s.Disks
	i.Warn = func(err error) { api.Warnf(ctx, "%v", err) }
	return i
}

type listRequest struct {
	Node       id.Node `pve:"node"`
	Partitions *bool   `pve:"include-partitions" doc:"List partitions too." default:"0"`
	SkipSMART  *bool   `pve:"skipsmart" doc:"Do not ask the disks how they are." default:"0"`
	Type       *string `pve:"type" doc:"List only disks that are free for something." enum:"unused|journal_disks"`
}

// entry is a disk, or a partition. What only disks have is optional.
type entry struct {
	Bluestore *bool  `pve:"bluestore" doc:"Ceph keeps its data there without a file system."`
	ByID      string `pve:"by_id_link,optional" doc:"Path that stays the same when disks come and go."`
	DB        int    `pve:"db,optional" doc:"How many OSDs have their database there."`
	Path      string `pve:"devpath" doc:"Path of the device."`
	GPT       bool   `pve:"gpt" doc:"The disk has a GUID partition table."`
	Health    string `pve:"health,optional" doc:"How the disk judges itself."`
	Journals  int    `pve:"journals,optional" doc:"How many OSDs have their journal there."`
	Model     string `pve:"model,optional" doc:"What the disk is called."`
	Mounted   bool   `pve:"mounted" doc:"Something on the device itself is mounted."`
	Encrypted *bool  `pve:"osdencrypted" doc:"The data of the OSD are encrypted."`
	OSD       int    `pve:"osdid" doc:"Number of the OSD that has its data there, -1 for none."`
	OSDs      []int  `pve:"osdid-list,required" doc:"Numbers of all OSDs that have their data there."`
	Parent    string `pve:"parent,optional" doc:"Path of the disk that a partition is on."`
	RPM       *int   `pve:"rpm" doc:"How fast it turns: 0 does not turn, -1 is not known."`
	Serial    string `pve:"serial,optional" doc:"Serial number."`
	Size      int64  `pve:"size" doc:"Size in bytes." renderer:"bytes"`
	Type      string `pve:"type" doc:"Kind of disk." enum:"hdd|ssd|nvme|usb|unknown|partition"`
	Used      string `pve:"used,optional" doc:"What it is used for."`
	Vendor    string `pve:"vendor,optional" doc:"Who made it."`
	WAL       int    `pve:"wal,optional" doc:"How many OSDs have their write-ahead log there."`
	Wearout   any    `pve:"wearout,optional" doc:"What is left of its life, in percent, or N/A."`
	WWN       string `pve:"wwn,optional" doc:"World wide name."`
}

func (s *Service) list(ctx context.Context, req listRequest) ([]entry, error) {
	q := host.DiskQuery{Partitions: req.Partitions != nil && *req.Partitions, NoSMART: req.SkipSMART != nil && *req.SkipSMART}
	all, err := s.inventory(ctx).Disks(ctx, q)
	if err != nil {
		return nil, err
	}
	list := []entry{}
	for _, d := range all {
		if req.Type == nil || fits(d, *req.Type) {
			list = append(list, entryOf(d))
		}
	}
	return list, nil
}

// fits tells whether a disk is free for what it is wanted for. Journals of OSDs go
// beside others, or into a partition of their own.
func fits(d host.Disk, kind string) bool {
	if kind == "unused" {
		return d.Used == ""
	}
	if d.Ceph.OSD() >= 0 {
		return false
	}
	switch d.Used {
	case "", "LVM":
		return true
	case "partitions":
		return d.GPT
	}
	return false
}

func entryOf(d host.Disk) entry {
	e := entry{
		Path: d.Path, Parent: d.Parent, Type: d.Type, Size: d.Size, GPT: d.GPT, Mounted: d.Mounted, Used: d.Used,
		Vendor: d.Vendor, Model: d.Model, Serial: d.Serial, WWN: d.WWN, ByID: d.ByID, Health: d.Health,
		OSD: d.Ceph.OSD(), OSDs: append([]int{}, d.Ceph.OSDs...), Journals: d.Ceph.Journals, DB: d.Ceph.DBs, WAL: d.Ceph.WALs,
	}
	if len(d.Ceph.OSDs) > 0 {
		e.Bluestore, e.Encrypted = &d.Ceph.Bluestore, &d.Ceph.Encrypted
	}
	if d.Type == host.DiskPartition {
		return e
	}
	e.RPM, e.Wearout = &d.RPM, "N/A"
	if d.Wearout != nil {
		e.Wearout = *d.Wearout
	}
	return e
}

type smartRequest struct {
	Node       id.Node `pve:"node"`
	Disk       string  `pve:"disk" doc:"Path of the disk." pattern:"^/dev/[a-zA-Z0-9\\/]+$"`
	HealthOnly *bool   `pve:"healthonly" doc:"Tell only how the disk judges itself."`
}

// smart is what a disk says of itself.
type smart struct {
	Attributes []attribute `pve:"attributes" doc:"Table of an ATA disk."`
	Health     string      `pve:"health" doc:"How the disk judges itself."`
	Text       string      `pve:"text,optional" doc:"What other disks say, or why there is nothing."`
	Type       string      `pve:"type,optional" doc:"Whether there is a table or a text." enum:"ata|text"`
	Wearout    *float64    `pve:"wearout" doc:"What is left of its life, in percent."`
}

type attribute struct {
	Fail       string `pve:"fail" doc:"Whether it has failed, and when."`
	Flags      string `pve:"flags" doc:"Flags of the attribute."`
	ID         string `pve:"id" doc:"Number of the attribute."`
	Name       string `pve:"name" doc:"Name of the attribute."`
	Normalized int    `pve:"normalized" doc:"Value on the scale of the vendor."`
	Raw        string `pve:"raw" doc:"Value as the disk counts it."`
	Threshold  int    `pve:"threshold" doc:"Value at which it has failed."`
	Value      int    `pve:"value" doc:"The same as normalized."`
	Worst      int    `pve:"worst" doc:"Lowest value there was."`
}

func (s *Service) smart(ctx context.Context, req smartRequest) (smart, error) {
	inventory := s.inventory(ctx)
	path, err := inventory.Device(req.Disk)
	if err != nil {
		return smart{}, err
	}
	healthOnly := req.HealthOnly != nil && *req.HealthOnly
	told, err := inventory.SMART(ctx, path, healthOnly)
	if ctx.Err() != nil {
		return smart{}, context.Cause(ctx)
	}
	answer := smart{Health: "UNKNOWN"}
	if told.Health != "" {
		answer.Health = told.Health
	}
	if healthOnly {
		return answer, nil
	}
	if err != nil {
		// That a disk says nothing is an answer; people see why.
		answer.Type, answer.Text = "text", fmt.Sprintf("%v\n", err)
		return answer, nil
	}
	answer.Type, answer.Text, answer.Wearout = told.Type, told.Text, told.Wearout
	for _, a := range told.Attributes {
		answer.Attributes = append(answer.Attributes, attribute{
			ID: a.ID, Name: a.Name, Flags: a.Flags, Normalized: a.Normalized, Value: a.Normalized, Worst: a.Worst,
			Threshold: a.Threshold, Fail: a.Fail, Raw: a.Raw,
		})
	}
	return answer, nil
}
