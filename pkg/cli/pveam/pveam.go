// Package pveam is the table of the commands of pveam.
package pveam

import (
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/cli/node"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Main runs pveam and returns its exit code.
func Main() int { return node.Main(Tool()) }

// here is the node that commands without a node are about.
func here() schema.Params { return schema.Params{"node": cli.LocalNode} }

// Tool returns pveam.
func Tool() cli.Tool {
	return cli.Tool{
		Name:     "pveam",
		Doc:      "Find container templates and bring them to storages.",
		Examples: examples(),
		Files:    files(),
		Commands: cli.Commands{
			"available": {Method: "pveam_available", Print: printAvailable},
			"download":  {Class: "PVE::API2::Nodes::Nodeinfo", Method: "POST /nodes/{node}/aplinfo", Args: []string{"storage", "template"}, Fixed: here()},
			"list":      {Method: "pveam_index", Args: []string{"storage"}, Fixed: here(), Print: printList},
			"remove":    {Method: "pveam_remove", Args: []string{"template_path"}, Fixed: here()},
			"update":    {Method: "pveam_update"},
		},
	}
}

func printAvailable(o *cli.Output, result any, _ schema.Params) error {
	for _, m := range cli.Objects(result) {
		if _, err := fmt.Fprintf(o, "%-15v %v\n", m["section"], m["template"]); err != nil {
			return err
		}
	}
	return nil
}

func printList(o *cli.Output, result any, _ schema.Params) error {
	if !o.NoHeader {
		if _, err := fmt.Fprintf(o, "%-60s %-6s\n", "NAME", "SIZE"); err != nil {
			return err
		}
	}
	for _, m := range cli.Objects(result) {
		size, _ := m["size"].(int64)
		if _, err := fmt.Fprintf(o, "%-60v %-4.2fMB\n", m["volid"], float64(size)/(1<<20)); err != nil {
			return err
		}
	}
	return nil
}

// examples are for the manual page.
func examples() []cli.Example {
	return []cli.Example{
		{Line: "pveam update", Doc: "Get the lists of templates that servers offer."},
		{Line: "pveam available --section system", Doc: "See the templates of plain systems."},
		{Line: "pveam download local debian-12-standard_12.12-1_amd64.tar.zst", Doc: "Bring one to a storage."},
		{Line: "pveam list local", Doc: "See what a storage has."},
		{Line: "pveam remove local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst", Doc: "Remove one."},
	}
}

// files are those that pveam reads and writes, for the manual page.
func files() []cli.File {
	return []cli.File{
		{Path: "/etc/virtsmith/appliance-sources", Doc: "Where templates come from: on each line the address of a list, without the .gz that it has behind it, and after a blank the path of a keyring where the usual one will not do. Its signature is at the same address with .asc. Without the file it is what Proxmox and TurnKey Linux offer."},
		{Path: "/etc/virtsmith/appliance-keyring.gpg", Doc: "The public keys that may sign lists, as gpg --export writes them, also with --armor. No key comes with virtsmith."},
		{Path: "/usr/share/doc/pve-manager/trustedkeys.gpg", Doc: "The keyring of Proxmox VE, used where the one above is not there."},
		{Path: "/etc/pve/datacenter.cfg", Doc: "With http_proxy, if all is to be loaded by way of a proxy."},
		{Path: "/var/lib/pve-manager/apl-info/", Doc: "The lists, by the host that they come from."},
		{Path: "/var/log/pveam.log", Doc: "What pveam update has done."},
	}
}
