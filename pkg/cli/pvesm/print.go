package pvesm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// sorted returns the elements of a list in the order of a field.
func sorted(result any, field string) []map[string]any {
	all := cli.Objects(result)
	slices.SortStableFunc(all, func(a, b map[string]any) int { return cmp.Compare(text(a[field]), text(b[field])) })
	return all
}

// text is a field as it is shown; nothing where it is not there.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}

// width is that of the longest field, and of its title.
func width(all []map[string]any, field, title string) int {
	most := len(title)
	for _, m := range all {
		most = max(most, utf8.RuneCountInString(text(m[field])))
	}
	return most
}

func printNothing(*cli.Output, any, schema.Params) error { return nil }

func printCreated(o *cli.Output, result any, _ schema.Params) error {
	_, err := fmt.Fprintf(o, "successfully created '%v'\n", result)
	return err
}

func printImported(o *cli.Output, result any, _ schema.Params) error {
	_, err := fmt.Fprintf(o, "successfully imported '%v'\n", result)
	return err
}

func printVersions(o *cli.Output, result any, _ schema.Params) error {
	versions, _ := result.(map[string]any)
	_, err := fmt.Fprintf(o, "APIVER %v\nAPIAGE %v\n", versions["apiver"], versions["apiage"])
	return err
}

// printStatus shows the storages, one a line, with sizes in KiB. What is wrong with one
// goes beside them.
func printStatus(o *cli.Output, result any, _ schema.Params) error {
	all := sorted(result, "storage")
	most := max(width(all, "storage", "")+1, len("Name"))
	if !o.NoHeader {
		fmt.Fprintf(o, "%-*s %10s %10s %15s %15s %15s %8s\n", most, "Name", "Type", "Status", "Total (KiB)", "Used (KiB)", "Available (KiB)", "%")
	}
	for _, m := range all {
		state := "inactive"
		if on, _ := m["active"].(bool); on || number(m["active"]) == 1 {
			state = "active"
		} else if on, _ := m["enabled"].(bool); !on && number(m["enabled"]) == 0 {
			state = "disabled"
		}
		total, used := number(m["total"]), number(m["used"])
		share := "N/A"
		if total > 0 {
			share = fmt.Sprintf("%.2f%%", 100*float64(used)/float64(total))
		}
		if _, err := fmt.Fprintf(o, "%-*s %10s %10s %15d %15d %15d %8s\n",
			most, text(m["storage"]), text(m["type"]), state, total/1024, used/1024, number(m["avail"])/1024, share); err != nil {
			return err
		}
	}
	return nil
}

func printList(o *cli.Output, result any, _ schema.Params) error {
	all := sorted(result, "volid")
	if len(all) == 0 && o.NoHeader {
		return nil
	}
	volid, size := width(all, "volid", "Volid"), width(all, "size", "")
	if !o.NoHeader {
		fmt.Fprintf(o, "%-*s %-7s %-9s %*s VMID\n", volid, "Volid", "Format", "Type", size, "Size")
	}
	for _, m := range all {
		line := fmt.Sprintf("%-*s %-7s %-9s %*s %s", volid, text(m["volid"]), text(m["format"]), text(m["content"]), size, text(m["size"]), text(m["vmid"]))
		if _, err := fmt.Fprintln(o, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// printPruned shows what would become of the backups.
func printPruned(o *cli.Output, result any, _ schema.Params) error {
	outcome, _ := result.(map[string]any)
	if on, _ := outcome["dryrun"].(bool); !on && number(outcome["dryrun"]) == 0 {
		return nil
	}
	all := cli.Objects(outcome["list"])
	if len(all) == 0 {
		_, err := fmt.Fprintln(o, "No backups found")
		return err
	}
	fmt.Fprint(o, "NOTE: this is only a preview and might not be what a subsequent\nprune call does if backups are removed/added in the meantime.\n\n")
	most := width(all, "volid", "Backup") + 1
	fmt.Fprintf(o, "%-*s %15s %10s\n", most, "Backup", "Backup-ID", "Prune-Mark")
	for _, m := range all {
		group := text(m["type"])
		if m["vmid"] != nil {
			group += "/" + text(m["vmid"])
		}
		if _, err := fmt.Fprintf(o, "%-*s %15s %10s\n", most, text(m["volid"]), group, text(m["mark"])); err != nil {
			return err
		}
	}
	return nil
}

// printNames shows one field a line.
func printNames(field string) cli.Print {
	return func(o *cli.Output, result any, _ schema.Params) error {
		for _, m := range sorted(result, field) {
			if _, err := fmt.Fprintln(o, text(m[field])); err != nil {
				return err
			}
		}
		return nil
	}
}

// pairs shows two fields a line, the first ones below each other.
func pairs(o *cli.Output, result any, first, second string) error {
	all := sorted(result, first)
	most := width(all, first, "")
	for _, m := range all {
		if _, err := fmt.Fprintln(o, strings.TrimRight(fmt.Sprintf("%-*s %s", most, text(m[first]), text(m[second])), " ")); err != nil {
			return err
		}
	}
	return nil
}

func printShares(o *cli.Output, result any, _ schema.Params) error {
	return pairs(o, result, "share", "description")
}

func printExports(o *cli.Output, result any, _ schema.Params) error {
	return pairs(o, result, "path", "options")
}

func printTargets(o *cli.Output, result any, _ schema.Params) error {
	return pairs(o, result, "target", "portal")
}
