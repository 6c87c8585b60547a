// Package qm is the table of the commands of qm.
package qm

import (
	"github.com/virtsmith/virtsmith/pkg/cli"
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
		Name: "qm",
		Doc:  "Manage virtual machines.",
		Commands: cli.Commands{
			"config":       {Method: "GET /nodes/{node}/qemu/{vmid}/config", Args: []string{"vmid"}, Fixed: here(), Print: printConfig},
			"list":         {Method: "GET /nodes/{node}/qemu", Fixed: here(), Print: printList},
			"listsnapshot": {Method: "GET /nodes/{node}/qemu/{vmid}/snapshot", Args: []string{"vmid"}, Fixed: here(), Print: printSnapshots},
			"pending":      {Method: "GET /nodes/{node}/qemu/{vmid}/pending", Args: []string{"vmid"}, Fixed: here(), Print: printPending},
			"start":        {Method: "POST /nodes/{node}/qemu/{vmid}/status/start", Args: []string{"vmid"}, Fixed: here()},
			"status":       {Method: "status", Args: []string{"vmid"}, Print: printStatus},
			"stop":         {Method: "POST /nodes/{node}/qemu/{vmid}/status/stop", Args: []string{"vmid"}, Fixed: here()},
		},
	}
}
