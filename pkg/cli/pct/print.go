package pct

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/cli/guests"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// printList shows the containers of a node, one a line.
func printList(o *cli.Output, result any, _ schema.Params) error {
	cts := cli.Objects(result)
	slices.SortFunc(cts, func(a, b map[string]any) int {
		x, _ := a["vmid"].(int64)
		y, _ := b["vmid"].(int64)
		return cmp.Compare(x, y)
	})
	if len(cts) == 0 {
		return nil
	}
	const line = "%-10v %-10v %-12v %-20v\n"
	if !o.NoHeader {
		fmt.Fprintf(o, line, "VMID", "Status", "Lock", "Name")
	}
	for _, ct := range cts {
		lock := ct["lock"]
		if lock == nil {
			lock = ""
		}
		if _, err := fmt.Fprintf(o, line, ct["vmid"], ct["status"], lock, ct["name"]); err != nil {
			return err
		}
	}
	return nil
}

// printConfig shows a configuration as its file would hold it, the lines for LXC last.
func printConfig(o *cli.Output, result any, p schema.Params) error {
	options, _ := result.(map[string]any)
	lines, _ := options["lxc"].([]any)
	delete(options, "lxc")
	if err := guests.Config(o, result, p); err != nil {
		return err
	}
	for _, line := range lines {
		if pair, _ := line.([]any); len(pair) == 2 {
			if _, err := fmt.Fprintf(o, "%v: %v\n", pair[0], pair[1]); err != nil {
				return err
			}
		}
	}
	return nil
}
