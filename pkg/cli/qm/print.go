package qm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/config"
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

// printConfig shows a configuration as its file would hold it.
func printConfig(o *cli.Output, result any, _ schema.Params) error {
	options, _ := result.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if key == "digest" {
			continue
		}
		value := options[key]
		if text, ok := value.(string); ok && key == config.Description {
			value = config.EncodeText(text)
		}
		if _, err := fmt.Fprintf(o, "%s: %v\n", key, value); err != nil {
			return err
		}
	}
	return nil
}

// printStatus shows one word, or with verbose all that is known.
func printStatus(o *cli.Output, result any, p schema.Params) error {
	status, _ := result.(map[string]any)
	if verbose, _ := schema.ParseBool(p["verbose"]); !verbose {
		_, err := fmt.Fprintf(o, "status: %v\n", status["status"])
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(status)) {
		if _, err := fmt.Fprintf(o, "%s: %v\n", key, status[key]); err != nil {
			return err
		}
	}
	return nil
}

// printPending shows for each option what it is (cur), what it will be (new), or that
// it will be gone (del).
func printPending(o *cli.Output, result any, _ schema.Params) error {
	for _, item := range cli.Objects(result) {
		key, _ := item["key"].(string)
		word := "cur"
		if item["delete"] != nil {
			word = "del"
		}
		if value := item["value"]; value != nil {
			fmt.Fprintf(o, "%s %s: %s\n", word, key, encoded(key, value))
		}
		if value := item["pending"]; value != nil {
			fmt.Fprintf(o, "new %s: %s\n", key, encoded(key, value))
		}
	}
	return nil
}

func encoded(key string, value any) string {
	text := fmt.Sprint(value)
	if key == config.Description {
		return config.EncodeText(text)
	}
	return text
}

// printSnapshots shows the snapshots as a tree, each below the one it came after.
func printSnapshots(o *cli.Output, result any, _ schema.Params) error {
	children := map[string][]map[string]any{}
	names := map[string]bool{}
	all := cli.Objects(result)
	for _, snap := range all {
		names[fmt.Sprint(snap["name"])] = true
	}
	for _, snap := range all {
		parent, _ := snap["parent"].(string)
		if !names[parent] {
			parent = "" // gone, or there never was one
		}
		children[parent] = append(children[parent], snap)
	}
	for _, list := range children {
		slices.SortStableFunc(list, func(a, b map[string]any) int { return cmp.Compare(age(a), age(b)) })
	}
	var show func(parent string, depth int)
	show = func(parent string, depth int) {
		for _, snap := range children[parent] {
			fmt.Fprintln(o, snapshotLine(o, snap, depth))
			show(fmt.Sprint(snap["name"]), depth+1)
		}
	}
	show("", 0)
	return nil
}

// age sorts snapshots by when they were made, what holds now last.
func age(snap map[string]any) int64 {
	if made, ok := snap["snaptime"].(int64); ok {
		return made
	}
	return 1 << 62
}

func snapshotLine(o *cli.Output, snap map[string]any, depth int) string {
	when := ""
	if made, ok := snap["snaptime"].(int64); ok {
		when = time.Unix(made, 0).In(o.Location).Format(time.DateTime)
	}
	note, _, _ := strings.Cut(fmt.Sprint(snap["description"]), "\n")
	if note == "" {
		note = "no-description"
	}
	indent := strings.Repeat(" ", depth)
	return fmt.Sprintf("%s`-> %-*s %-23s %s", indent, 27-depth, snap["name"], when, note)
}
