// Package guests shows as text what the commands of virtual machines and of containers
// have in common: configurations, pending changes, snapshots, states.
package guests

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

// Config shows a configuration as its file would hold it.
func Config(o *cli.Output, result any, _ schema.Params) error {
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

// Status shows one word, or with verbose all that is known.
func Status(o *cli.Output, result any, p schema.Params) error {
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

// Pending shows for each option what it is (cur), what it will be (new), or that
// it will be gone (del).
func Pending(o *cli.Output, result any, _ schema.Params) error {
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

// Snapshots shows the snapshots as a tree, each below the one it came after.
func Snapshots(o *cli.Output, result any, _ schema.Params) error {
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
