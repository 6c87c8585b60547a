package lxcconf_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

var update = flag.Bool("update", false, "write what is made to testdata")

// base is a container with nothing out of the ordinary.
const base = "arch: amd64\nhostname: web\nostype: debian\nrootfs: local:100/vm-100-disk-0.raw,size=1G\nunprivileged: 1\n"

// TestMake goes through testdata: an option in the file conf, what the machine is like in the
// file machine, and what is made: all of it for the file base, else the lines that are there more
// (+) or less (-) than for base.
func TestMake(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	plain := result(t, base, "")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given := map[string]string{}
			kept := []txtar.File{}
			for _, f := range archive.Files {
				if f.Name == "conf" || f.Name == "machine" {
					given[f.Name] = string(f.Data)
					kept = append(kept, f)
				}
			}
			made := result(t, given["conf"], given["machine"])
			for _, p := range made {
				text := p.text
				if name != "base" {
					text = difference(plain[slices.IndexFunc(plain, func(q part) bool { return q.name == p.name })].text, text)
				}
				if text != "" {
					kept = append(kept, txtar.File{Name: p.name, Data: []byte(text)})
				}
			}
			got := txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: kept})
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type part struct{ name, text string }

// result makes a configuration for a machine that is described in words.
func result(t *testing.T, conf, machine string) []part {
	t.Helper()
	doc, err := container.ReadDoc(100, []byte(conf), false, func(fault string) { t.Log(fault) })
	if err != nil {
		t.Fatal(err)
	}
	m := lxcconf.Machine{
		LXC:       lxc.Version{Major: 5, Micro: 2},
		Kernel:    lxc.Kernel{Seccomp: true, CgroupNS: true},
		SwapLimit: true,
	}
	c := lxcconf.Container{
		VMID: 100, Config: container.Typed(doc.Values), Raw: container.RawLines(doc.Values), Dir: "/var/lib/lxc/100",
		Nodes: map[int]mount.Node{}, MTU: map[int]int{}, Hook: []string{"/usr/bin/pct", "--lxc-hook"},
	}
	for word := range strings.FieldsSeq(machine) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "unified":
			m.Kernel.Unified = true
		case "apparmor":
			m.Kernel.AppArmor = true
		case "noseccomp":
			m.Kernel.Seccomp = false
		case "noswaplimit":
			m.SwapLimit = false
		case "lxc":
			if m.LXC, err = lxc.ParseVersion(value); err != nil {
				t.Fatal(err)
			}
		case "syscalld":
			m.SyscallProxy = value
		case "include":
			m.Includes = append(m.Includes, value)
		case "lxcfs":
			m.LXCFS = value
		case "exe":
			c.Hook = []string{strings.ReplaceAll(value, "_", " "), "--lxc-hook"}
		case "cpus":
			for n := range strings.SplitSeq(value, ",") {
				cpu, _ := strconv.Atoi(n)
				c.CPUs = append(c.CPUs, cpu)
			}
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	var maps []string
	for _, l := range c.Raw {
		if idmap.IsKey(l.Key) {
			maps = append(maps, l.Value)
		}
	}
	if c.IDs, err = idmap.Of(maps, c.Config.Unprivileged != nil && *c.Config.Unprivileged); err != nil {
		t.Fatal(err)
	}
	for n, d := range c.Config.Device {
		c.Nodes[n] = mount.Node{Path: *d.Path, Block: strings.HasPrefix(*d.Path, "/dev/sd"), Major: 226, Minor: uint32(n)}
	}
	for n := range c.Config.Net {
		c.MTU[n] = 1500
	}
	r, err := lxcconf.Make(m, c)
	if err != nil {
		return []part{{"lines", ""}, {"rules.seccomp", ""}, {"warnings", ""}, {"notes", ""}, {"error", err.Error() + "\n"}}
	}
	text, err := r.Lines.Text()
	if err != nil {
		t.Fatal(err)
	}
	return []part{{"lines", text}, {"rules.seccomp", r.Seccomp}, {"warnings", lines(r.Warnings)}, {"notes", lines(r.Notes)}, {"error", ""}}
}

func lines(all []string) string {
	out := ""
	for _, l := range all {
		out += l + "\n"
	}
	return out
}

// difference lists the lines that one text has more or less than the other.
func difference(was, is string) string {
	out := &strings.Builder{}
	old, now := slices.Collect(strings.Lines(was)), slices.Collect(strings.Lines(is))
	for _, line := range old {
		if !slices.Contains(now, line) {
			fmt.Fprintf(out, "- %s", line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			fmt.Fprintf(out, "+ %s", line)
		}
	}
	return out.String()
}

func TestFormatCPUs(t *testing.T) {
	for want, cpus := range map[string][]int{"": nil, "3": {3}, "0-3": {3, 1, 0, 2}, "0,2-3,5": {5, 3, 2, 0, 2}} {
		if got := lxcconf.FormatCPUs(cpus); got != want {
			t.Errorf("%v: %q, want %q", cpus, got, want)
		}
	}
}
