// Package pct is the table of the commands of pct.
package pct

import (
	"github.com/virtsmith/virtsmith/pkg/app"
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/cli/guests"
	"github.com/virtsmith/virtsmith/pkg/cli/node"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/lxc/liblxc"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Main runs pct and returns its exit code.
func Main() int {
	return node.Main(Tool(), func(h *app.Host) {
		if liblxc.Linked { // else the programs of LXC do, which takes longer
			h.LXC = func(path string) ct.Runtime { return liblxc.Runtime{Path: path} }
		}
		h.Guests = cluster.Container
	})
}

// here is the node that commands without a node are about.
func here() schema.Params { return schema.Params{"node": cli.LocalNode} }

// secrets are the options whose values are not told on the command line.
func secrets() map[string]cli.Mapping {
	return map[string]cli.Mapping{"password": {Secret: true}, "ssh-public-keys": {}}
}

// The classes by which usage texts are sorted.
const (
	guestClass    = "PVE::API2::LXC"
	configClass   = "PVE::API2::LXC::Config"
	snapshotClass = "PVE::API2::LXC::Snapshot"
	statusClass   = "PVE::API2::LXC::Status"
)

// Tool returns pct.
func Tool() cli.Tool {
	return cli.Tool{
		Name:     "pct",
		Doc:      "Manage containers.",
		Examples: examples(),
		Files:    files(),
		Commands: cli.Commands{
			"clone":        {Class: guestClass, Method: "POST /nodes/{node}/lxc/{vmid}/clone", Args: []string{"vmid", "newid"}, Fixed: here()},
			"config":       {Class: configClass, Method: "GET /nodes/{node}/lxc/{vmid}/config", Args: []string{"vmid"}, Fixed: here(), Print: printConfig},
			"create":       {Class: guestClass, Method: "POST /nodes/{node}/lxc", Args: []string{"vmid", "ostemplate"}, Fixed: here(), Mapping: secrets()},
			"console":      {Method: "pct:console", Args: []string{"vmid"}},
			"cpusets":      {Method: "pct:cpusets"},
			"delsnapshot":  {Class: snapshotClass, Method: "DELETE /nodes/{node}/lxc/{vmid}/snapshot/{snapname}", Args: []string{"vmid", "snapname"}, Fixed: here()},
			"destroy":      {Class: guestClass, Method: "DELETE /nodes/{node}/lxc/{vmid}", Args: []string{"vmid"}, Fixed: here()},
			"df":           {Method: "pct:df", Args: []string{"vmid"}},
			"enter":        {Method: "pct:enter", Args: []string{"vmid"}},
			"exec":         {Method: "pct:exec", Args: []string{"vmid", "extra-args"}},
			"fsck":         {Method: "pct:fsck", Args: []string{"vmid"}},
			"fstrim":       {Method: "pct:fstrim", Args: []string{"vmid"}},
			"list":         {Class: guestClass, Method: "GET /nodes/{node}/lxc", Fixed: here(), Print: printList},
			"listsnapshot": {Class: snapshotClass, Method: "GET /nodes/{node}/lxc/{vmid}/snapshot", Args: []string{"vmid"}, Fixed: here(), Print: guests.Snapshots},
			"mount":        {Method: "pct:mount", Args: []string{"vmid"}},
			"move-volume":  {Class: guestClass, Method: "POST /nodes/{node}/lxc/{vmid}/move_volume", Args: []string{"vmid", "volume", "storage", "target-vmid", "target-volume"}, Fixed: here()},
			"move_volume":  {Alias: "move-volume"},
			"pending":      {Class: guestClass, Method: "GET /nodes/{node}/lxc/{vmid}/pending", Args: []string{"vmid"}, Fixed: here(), Print: guests.Pending},
			"pull":         {Method: "pct:pull", Args: []string{"vmid", "path", "destination"}},
			"push":         {Method: "pct:push", Args: []string{"vmid", "file", "destination"}},
			"reboot":       {Class: statusClass, Method: "POST /nodes/{node}/lxc/{vmid}/status/reboot", Args: []string{"vmid"}, Fixed: here()},
			"restore": {
				Class: guestClass, Method: "POST /nodes/{node}/lxc", Args: []string{"vmid", "ostemplate"}, Mapping: secrets(),
				Fixed: schema.Params{"node": cli.LocalNode, "restore": "1"},
			},
			"rollback": {Class: snapshotClass, Method: "POST /nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback", Args: []string{"vmid", "snapname"}, Fixed: here()},
			"snapshot": {Class: snapshotClass, Method: "POST /nodes/{node}/lxc/{vmid}/snapshot", Args: []string{"vmid", "snapname"}, Fixed: here()},
			"set":      {Class: configClass, Method: "PUT /nodes/{node}/lxc/{vmid}/config", Args: []string{"vmid"}, Fixed: here()},
			"rescan":   {Method: "pct:rescan"},
			"resize":   {Class: guestClass, Method: "PUT /nodes/{node}/lxc/{vmid}/resize", Args: []string{"vmid", "disk", "size"}, Fixed: here()},
			"status":   {Method: "pct:status", Args: []string{"vmid"}, Print: guests.Status},
			"resume":   {Class: statusClass, Method: "POST /nodes/{node}/lxc/{vmid}/status/resume", Args: []string{"vmid"}, Fixed: here()},
			"shutdown": {Class: statusClass, Method: "POST /nodes/{node}/lxc/{vmid}/status/shutdown", Args: []string{"vmid"}, Fixed: here()},
			"start":    {Class: statusClass, Method: "POST /nodes/{node}/lxc/{vmid}/status/start", Args: []string{"vmid"}, Fixed: here()},
			"stop":     {Class: statusClass, Method: "POST /nodes/{node}/lxc/{vmid}/status/stop", Args: []string{"vmid"}, Fixed: here()},
			"suspend":  {Class: statusClass, Method: "POST /nodes/{node}/lxc/{vmid}/status/suspend", Args: []string{"vmid"}, Fixed: here()},
			"template": {Class: guestClass, Method: "POST /nodes/{node}/lxc/{vmid}/template", Args: []string{"vmid"}, Fixed: here()},
			"unlock":   {Method: "pct:unlock", Args: []string{"vmid"}},
			"unmount":  {Method: "pct:unmount", Args: []string{"vmid"}},
		},
	}
}
