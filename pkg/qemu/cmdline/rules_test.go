package cmdline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The suite has the command lines of upstream, for a QEMU with patches. Ours are
// for stock QEMU. These are the rules by which the two may differ; what is left
// must be equal, option by option, in order. No rule knows a case.
//
//	host    The program, -id, -pidfile, -daemonize and the socket of events are the
//	        host's business; so are the picture of the firmware (splash) and the
//	        programs that wire up taps (script, downscript).
//	accel   accel=kvm is the default of upstream's program, and said by us.
//	pve     +pveN in a machine type counts changes that the devices show themselves.
//	config  -readconfig FILE is the devices of that file.
//	iscsi   The name of the node as an initiator is told where a drive uses iSCSI.
//	nothing A throttle without limits does nothing.
//	order   The order of the properties in one option has no meaning.
//	drive   Machines before 10.0 have -drive with upstream: a tree of block nodes
//	        with the same files, formats, caching, zeroes; a CD drive without a disc
//	        needs none; flash is named in -machine. Names of nodes within the tree
//	        are QEMU's own there. The properties that a device takes from -drive by
//	        itself (device_id, write-cache) are not listed.
type arg struct{ Option, Value string }

// bothNormal applies the rules to both sides.
func bothNormal(theirs, ours []string) (want, have []arg) {
	want, have = pairs(theirs), pairs(ours)
	old := slices.ContainsFunc(want, func(a arg) bool { return a.Option == "-drive" }) || !slices.ContainsFunc(want, func(a arg) bool { return a.Option == "-blockdev" })
	usesISCSI := slices.ContainsFunc(want, func(a arg) bool { return strings.Contains(a.Value, `"driver":"iscsi"`) })
	for _, side := range []*[]arg{&want, &have} {
		list := slices.DeleteFunc(*side, func(a arg) bool { return hostOnly(a) || a.Option == "-iscsi" && !usesISCSI })
		list = expand(list)
		if old {
			list = withoutDrives(list)
		}
		list = withoutEmptyThrottles(list)
		for i := range list {
			list[i].Value = ordered(list[i], old)
		}
		// Where -iscsi stands has no meaning.
		slices.SortStableFunc(list, func(a, b arg) int { return last(a) - last(b) })
		*side = list
	}
	return want, have
}

func last(a arg) int {
	if a.Option == "-iscsi" {
		return 1
	}
	return 0
}

// pairs cuts a command line into options and values, the program left out.
func pairs(argv []string) []arg {
	first := slices.IndexFunc(argv, func(word string) bool { return strings.HasPrefix(word, "-") })
	var list []arg
	for words := argv[first:]; len(words) > 0; {
		a := arg{Option: words[0]}
		words = words[1:]
		if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
			a.Value, words = words[0], words[1:]
		}
		list = append(list, a)
	}
	return list
}

// hostOnly is the rule host, for whole options.
func hostOnly(a arg) bool {
	switch a.Option {
	case "-id", "-pidfile", "-daemonize":
		return true
	case "-chardev", "-mon":
		return strings.Contains(a.Value, "qmp-event")
	}
	return false
}

// expand is the rule config.
func expand(list []arg) []arg {
	var out []arg
	for _, a := range list {
		var devices []string
		switch {
		case a.Option != "-readconfig":
			out = append(out, a)
		case strings.HasSuffix(a.Value, "pve-q35-4.0.cfg"):
			devices = chipset(version{major: 4})
		case strings.HasSuffix(a.Value, "pve-q35.cfg"):
			devices = chipset(version{major: 3})
		case strings.HasSuffix(a.Value, "pve-usb.cfg"):
			devices = usb2(false)
		}
		for _, device := range devices {
			out = append(out, arg{"-device", device})
		}
	}
	return out
}

// withoutEmptyThrottles is the rule nothing.
func withoutEmptyThrottles(list []arg) []arg {
	var out []arg
	for _, a := range list {
		if a.Option == "-object" && strings.Contains(a.Value, `"limits":{}`) {
			continue
		}
		if a.Option == "-blockdev" {
			n := tree(a.Value)
			if n["driver"] == "throttle" {
				below := n["file"].(map[string]any)
				below["node-name"] = n["node-name"]
				a.Value = canonical(below)
			}
		}
		out = append(out, a)
	}
	return out
}

func tree(text string) map[string]any {
	n := map[string]any{}
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		panic(err)
	}
	return n
}

// ordered is the rules order, accel, pve and host, for the parts of a value.
func ordered(a arg, old bool) string {
	if strings.HasPrefix(a.Value, "{") {
		n := tree(a.Value)
		if old {
			plain(n, strings.Contains(a.Value, "efidisk") || strings.Contains(a.Value, "pflash"))
		}
		return canonical(n)
	}
	parts := strings.Split(a.Value, ",")
	if !strings.Contains(parts[0], "=") {
		parts = append([]string{parts[0]}, slices.Sorted(slices.Values(parts[1:]))...)
	} else {
		slices.Sort(parts)
	}
	var kept []string
	for _, part := range parts {
		key, value, _ := strings.Cut(part, "=")
		switch {
		case a.Option == "-boot" && key == "splash", a.Option == "-netdev" && strings.HasSuffix(key, "script"):
			continue
		case a.Option == "-machine" && part == "accel=kvm":
			continue
		case a.Option == "-machine" && old && strings.HasPrefix(key, "pflash"):
			continue
		case a.Option == "-machine" && key == "type":
			value, _, _ = strings.Cut(value, "+")
			part = "type=" + value
		case a.Option == "-device" && old && (key == "device_id" || key == "write-cache"):
			continue
		case a.Option == "-device" && old && key == "drive" && strings.Contains(a.Value, "ide-cd"):
			continue // an empty one, or seen in the tree
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, ",")
}

// withoutDrives is the rule drive, for -drive.
func withoutDrives(list []arg) []arg {
	var out []arg
	for _, a := range list {
		if a.Option != "-drive" {
			out = append(out, a)
			continue
		}
		o := map[string]string{}
		for part := range strings.SplitSeq(a.Value, ",") {
			key, value, _ := strings.Cut(part, "=")
			o[key] = value
		}
		if o["file"] == "" {
			continue
		}
		readOnly := o["readonly"] == "on"
		common := func(n node) node {
			n["read-only"] = readOnly
			n["cache"] = node{"direct": o["cache"] == "none", "no-flush": false}
			n["discard"] = map[bool]string{true: "unmap", false: "ignore"}[o["discard"] == "on"]
			n["detect-zeroes"] = o["detect-zeroes"]
			return n
		}
		file := common(node{"driver": "file", "filename": o["file"], "aio": o["aio"]})
		name := o["id"]
		if name == "" {
			name = "pflash" + o["unit"]
		}
		out = append(out, arg{"-blockdev", canonical(common(node{"driver": o["format"], "node-name": name, "file": file}))})
	}
	return out
}

// plain is the rule drive, for trees: without the names within; of flash, which
// -drive says less about, without how the host caches it.
func plain(n map[string]any, flash bool) {
	if flash {
		for _, key := range []string{"cache", "aio", "discard", "detect-zeroes"} {
			delete(n, key)
		}
	}
	if below, ok := n["file"].(map[string]any); ok {
		delete(below, "node-name")
		if flash {
			delete(below, "read-only")
		}
		plain(below, flash)
	}
}

// String prints an option as it is typed.
func (a arg) String() string { return fmt.Sprintf("%s %s", a.Option, a.Value) }
