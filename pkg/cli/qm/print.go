package qm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// printList shows the VMs of a node, one a line. Sizes are in MiB and GiB.
func printList(o *cli.Output, result any, _ schema.Params) error {
	vms := cli.Objects(result)
	slices.SortFunc(vms, func(a, b map[string]any) int {
		x, _ := a["vmid"].(int64)
		y, _ := b["vmid"].(int64)
		return cmp.Compare(x, y)
	})
	if len(vms) == 0 {
		return nil
	}
	if !o.NoHeader {
		fmt.Fprintf(o, "%10s %-20s %-10s %-10s %12s %-10s\n", "VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID")
	}
	for _, vm := range vms {
		state, pid := vm["status"], any(0)
		if vm["pid"] != nil {
			pid, state = vm["pid"], vm["qmpstatus"]
		}
		mem, _ := vm["maxmem"].(int64)
		disk, _ := vm["maxdisk"].(int64)
		_, err := fmt.Fprintf(o, "%10v %-20v %-10v %-10d %12.2f %-10v\n", vm["vmid"], vm["name"], state, mem>>20, float64(disk)/(1<<30), pid)
		if err != nil {
			return err
		}
	}
	return nil
}
