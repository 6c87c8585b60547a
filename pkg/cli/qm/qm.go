// Package qm is the table of the commands of qm.
package qm

import (
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/cli/guests"
	"github.com/virtsmith/virtsmith/pkg/cli/node"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Main runs qm and returns its exit code.
func Main() int { return node.Main(Tool()) }

// here is the node that commands without a node are about.
func here() schema.Params { return schema.Params{"node": cli.LocalNode} }

// Tool returns qm.
func Tool() cli.Tool {
	return cli.Tool{
		Name:     "qm",
		Doc:      "Manage virtual machines.",
		Examples: examples(),
		Files:    files(),
		Commands: cli.Commands{
			"agent":   {Alias: "guest cmd"},
			"cleanup": {Method: "cleanup", Args: []string{"vmid", "clean-shutdown", "guest-requested"}, Fixed: here()},
			"cloudinit": {Sub: cli.Commands{
				"dump":    {Method: "GET /nodes/{node}/qemu/{vmid}/cloudinit/dump", Args: []string{"vmid", "type"}, Fixed: here(), Print: printText},
				"pending": {Method: "GET /nodes/{node}/qemu/{vmid}/cloudinit", Args: []string{"vmid"}, Fixed: here(), Print: guests.Pending},
				"update":  {Method: "PUT /nodes/{node}/qemu/{vmid}/cloudinit", Args: []string{"vmid"}, Fixed: here()},
			}},
			"clone":       {Method: "POST /nodes/{node}/qemu/{vmid}/clone", Args: []string{"vmid", "newid"}, Fixed: here()},
			"config":      {Method: "GET /nodes/{node}/qemu/{vmid}/config", Args: []string{"vmid"}, Fixed: here(), Print: guests.Config},
			"create":      {Method: "POST /nodes/{node}/qemu", Args: []string{"vmid"}, Fixed: here(), Mapping: secrets()},
			"delsnapshot": {Method: "DELETE /nodes/{node}/qemu/{vmid}/snapshot/{snapname}", Args: []string{"vmid", "snapname"}, Fixed: here()},
			"destroy":     {Method: "DELETE /nodes/{node}/qemu/{vmid}", Args: []string{"vmid"}, Fixed: here()},
			"disk": {Sub: cli.Commands{
				"import": {Method: "importdisk", Args: []string{"vmid", "source", "storage"}},
				"move":   {Method: "POST /nodes/{node}/qemu/{vmid}/move_disk", Args: []string{"vmid", "disk", "storage"}, Fixed: here()},
				"rescan": {Method: "rescan"},
				"resize": {Method: "PUT /nodes/{node}/qemu/{vmid}/resize", Args: []string{"vmid", "disk", "size"}, Fixed: here()},
				"unlink": {Method: "PUT /nodes/{node}/qemu/{vmid}/unlink", Args: []string{"vmid"}, Fixed: here()},
			}},
			"enroll-efi-keys": {Method: "enroll-efi-keys", Args: []string{"vmid"}},
			"guest": {Sub: cli.Commands{
				"cmd":         {Method: "POST /nodes/{node}/qemu/{vmid}/agent", Args: []string{"vmid", "command"}, Fixed: here(), Print: printAgent},
				"exec":        {Method: "exec", Args: []string{"vmid", "extra-args"}, Fixed: here(), Print: printAgent},
				"exec-status": {Method: "GET /nodes/{node}/qemu/{vmid}/agent/exec-status", Args: []string{"vmid", "pid"}, Fixed: here(), Print: printAgent},
				"passwd": {
					Method: "POST /nodes/{node}/qemu/{vmid}/agent/set-user-password", Args: []string{"vmid", "username"}, Fixed: here(),
					Mapping: map[string]cli.Mapping{"password": {Secret: true}}, Print: printNothing,
				},
			}},
			"import":       {Method: "vm_import", Args: []string{"vmid", "source"}},
			"importdisk":   {Alias: "disk import"},
			"importovf":    {Method: "importovf", Args: []string{"vmid", "manifest", "storage"}},
			"list":         {Method: "GET /nodes/{node}/qemu", Fixed: here(), Print: printList},
			"listsnapshot": {Method: "GET /nodes/{node}/qemu/{vmid}/snapshot", Args: []string{"vmid"}, Fixed: here(), Print: guests.Snapshots},
			"monitor":      {Method: "monitor", Args: []string{"vmid"}},
			"move-disk":    {Alias: "disk move"},
			"move_disk":    {Alias: "disk move"},
			"pending":      {Method: "GET /nodes/{node}/qemu/{vmid}/pending", Args: []string{"vmid"}, Fixed: here(), Print: guests.Pending},
			"reboot":       {Method: "POST /nodes/{node}/qemu/{vmid}/status/reboot", Args: []string{"vmid"}, Fixed: here()},
			"rescan":       {Alias: "disk rescan"},
			"reset":        {Method: "POST /nodes/{node}/qemu/{vmid}/status/reset", Args: []string{"vmid"}, Fixed: here()},
			"resize":       {Alias: "disk resize"},
			"resume":       {Method: "POST /nodes/{node}/qemu/{vmid}/status/resume", Args: []string{"vmid"}, Fixed: here()},
			"rollback":     {Method: "POST /nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback", Args: []string{"vmid", "snapname"}, Fixed: here()},
			"sendkey":      {Method: "PUT /nodes/{node}/qemu/{vmid}/sendkey", Args: []string{"vmid", "key"}, Fixed: here()},
			"set":          {Method: "PUT /nodes/{node}/qemu/{vmid}/config", Args: []string{"vmid"}, Fixed: here(), Mapping: secrets()},
			"showcmd":      {Method: "showcmd", Args: []string{"vmid"}},
			"shutdown":     {Method: "POST /nodes/{node}/qemu/{vmid}/status/shutdown", Args: []string{"vmid"}, Fixed: here()},
			"snapshot":     {Method: "POST /nodes/{node}/qemu/{vmid}/snapshot", Args: []string{"vmid", "snapname"}, Fixed: here()},
			"start":        {Method: "POST /nodes/{node}/qemu/{vmid}/status/start", Args: []string{"vmid"}, Fixed: here()},
			"status":       {Method: "status", Args: []string{"vmid"}, Print: guests.Status},
			"stop":         {Method: "POST /nodes/{node}/qemu/{vmid}/status/stop", Args: []string{"vmid"}, Fixed: here()},
			"suspend":      {Method: "POST /nodes/{node}/qemu/{vmid}/status/suspend", Args: []string{"vmid"}, Fixed: here()},
			"template":     {Method: "POST /nodes/{node}/qemu/{vmid}/template", Args: []string{"vmid"}, Fixed: here()},
			"terminal":     {Method: "terminal", Args: []string{"vmid"}},
			"unlink":       {Alias: "disk unlink"},
			"unlock":       {Method: "unlock", Args: []string{"vmid"}},
			"vncproxy":     {Method: "vncproxy", Args: []string{"vmid"}},
			"wait":         {Method: "wait", Args: []string{"vmid"}},
		},
	}
}
