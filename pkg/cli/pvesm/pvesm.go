// Package pvesm is the table of the commands of pvesm.
package pvesm

import (
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/cli/node"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Main runs pvesm and returns its exit code.
func Main() int { return node.Main(Tool()) }

// here is the node that commands without a node are about.
func here() schema.Params { return schema.Params{"node": cli.LocalNode} }

// Upstream's names of what the methods of a group are served by: they sort and separate
// the commands in usage texts.
const (
	definitions = "PVE::API2::Storage::Config"
	volumes     = "PVE::API2::Storage::Content"
	states      = "PVE::API2::Storage::Status"
)

// Tool returns pvesm.
func Tool() cli.Tool {
	return cli.Tool{
		Name:     "pvesm",
		Doc:      "Manage storages and the volumes on them.",
		Examples: examples(),
		Files:    files(),
		Commands: cli.Commands{
			"add":           {Class: definitions, Method: "POST /storage", Args: []string{"type", "storage"}, Mapping: secrets(), Print: printNothing},
			"alloc":         {Class: volumes, Method: "POST /nodes/{node}/storage/{storage}/content", Args: []string{"storage", "vmid", "filename", "size"}, Fixed: here(), Print: printCreated},
			"apiinfo":       {Method: "apiinfo", Print: printVersions},
			"cifsscan":      {Alias: "scan cifs"},
			"export":        {Method: "export", Args: []string{"volume", "format", "filename"}},
			"extractconfig": {Method: "extractconfig", Args: []string{"volume"}},
			"free":          {Class: volumes, Method: "DELETE /nodes/{node}/storage/{storage}/content/{volume}", Args: []string{"volume"}, Fixed: here()},
			"import":        {Method: "import", Args: []string{"volume", "format", "filename"}, Print: printImported},
			"iscsiscan":     {Alias: "scan iscsi"},
			"list":          {Class: volumes, Method: "GET /nodes/{node}/storage/{storage}/content", Args: []string{"storage"}, Fixed: here(), Print: printList},
			"lvmscan":       {Alias: "scan lvm"},
			"lvmthinscan":   {Alias: "scan lvmthin"},
			"nfsscan":       {Alias: "scan nfs"},
			"path":          {Method: "path", Args: []string{"volume"}},
			"prune-backups": {Method: "prunebackups", Args: []string{"storage"}, Fixed: here(), Print: printPruned},
			"remove":        {Class: definitions, Method: "DELETE /storage/{storage}", Args: []string{"storage"}},
			"scan": {Sub: cli.Commands{
				"cifs":    {Method: "GET /nodes/{node}/scan/cifs", Args: []string{"server"}, Fixed: here(), Mapping: map[string]cli.Mapping{"password": {Secret: true}}, Print: printShares},
				"iscsi":   {Method: "GET /nodes/{node}/scan/iscsi", Args: []string{"portal"}, Fixed: here(), Print: printTargets},
				"lvm":     {Method: "GET /nodes/{node}/scan/lvm", Fixed: here(), Print: printNames("vg")},
				"lvmthin": {Method: "GET /nodes/{node}/scan/lvmthin", Args: []string{"vg"}, Fixed: here(), Print: printNames("lv")},
				"nfs":     {Method: "GET /nodes/{node}/scan/nfs", Args: []string{"server"}, Fixed: here(), Print: printExports},
				"zfs":     {Method: "GET /nodes/{node}/scan/zfs", Fixed: here(), Print: printNames("pool")},
			}},
			"set":     {Class: definitions, Method: "PUT /storage/{storage}", Args: []string{"storage"}, Mapping: secrets(), Print: printNothing},
			"status":  {Class: states, Method: "GET /nodes/{node}/storage", Fixed: here(), Print: printStatus},
			"zfsscan": {Alias: "scan zfs"},
		},
	}
}

// secrets are options whose value is asked for, or read from a file.
func secrets() map[string]cli.Mapping {
	return map[string]cli.Mapping{"password": {Secret: true}, "keyring": {}}
}
