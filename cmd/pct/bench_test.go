package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/cmd/internal/stopwatch"
	"github.com/virtsmith/virtsmith/pkg/lxc/lxctest"
)

// BenchmarkCommand times whole processes, from the call to the exit, in worlds of 1, 1,000
// and 10,000 containers, none of which runs. Each run of a command follows one of a Go program
// that does nothing; the metrics are medians. Memory is the most that the process had at once.
func BenchmarkCommand(b *testing.B) {
	dir := b.TempDir()
	pct, nothing := stopwatch.BuildLinked(b, dir, "."), stopwatch.Empty(b, dir)
	for _, guests := range []int{1, 1000, 10000} {
		root := filepath.Join(dir, strconv.Itoa(guests))
		generate(b, root, guests)
		last := strconv.Itoa(99 + guests)
		for _, args := range [][]string{{"status", last}, {"config", last}, {"list"}} {
			b.Run(fmt.Sprintf("%s/guests=%d", args[0], guests), func(b *testing.B) {
				p := stopwatch.Process{Path: pct, Args: args, Env: environment(root)}
				p.Bench(b, stopwatch.Process{Path: nothing})
			})
		}
	}
}

func environment(root string) []string {
	return append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE=pve1", "LC_ALL=C")
}

// benchConfig is the configuration of container n.
const benchConfig = `#Container %[1]d%%0Aof a bench
arch: amd64
cores: 2
features: nesting=1
hostname: ct-%[1]d
memory: %[2]d
mp0: local:%[1]d/vm-%[1]d-disk-1.raw,mp=/srv/data,backup=1,size=32G
net0: name=eth0,bridge=vmbr0,firewall=1,gw=10.0.0.1,hwaddr=BC:24:11:%02[3]X:%02[4]X:01,ip=10.0.%[3]d.%[4]d/16,type=veth
onboot: 1
ostype: debian
parent: before
rootfs: local:%[1]d/vm-%[1]d-disk-0.raw,size=8G
swap: 512
tags: bench;web
unprivileged: 1

[before]
arch: amd64
hostname: ct-%[1]d
memory: %[2]d
net0: name=eth0,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:%02[3]X:%02[4]X:01,ip=dhcp,type=veth
ostype: debian
rootfs: local:%[1]d/vm-%[1]d-disk-0.raw,size=8G
snaptime: 1749000000
swap: 512
unprivileged: 1
`

// generate makes a world with so many containers from 100 on.
func generate(b *testing.B, root string, guests int) {
	b.Helper()
	for n := 100; n < 100+guests; n++ {
		write(b, filepath.Join(root, fmt.Sprintf("etc/pve/nodes/pve1/lxc/%d.conf", n)), fmt.Sprintf(benchConfig, n, 512<<(n%4), n>>8&0xff, n&0xff))
	}
}

func write(b *testing.B, path, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		b.Fatal(err)
	}
}

// A turn is a command of ours and the bare one that does the same.
type turn struct {
	name             string
	ours, bare       stopwatch.Process
	oursTook, itTook []time.Duration
}

// BenchmarkLife starts a container with pct, runs a program in it and kills it, and in turns does
// so with LXC's own programs: the same container with the same configuration, but nothing
// of ours around it, no hooks, its root a plain folder. It is busybox, unprivileged. The metrics
// are medians, and what is left in memory while the container runs.
func BenchmarkLife(b *testing.B) {
	lxctest.Require(b)
	for _, net := range []bool{false, true} {
		b.Run(fmt.Sprintf("net=%t", net), func(b *testing.B) { life(b, net) })
	}
}

func life(b *testing.B, net bool) {
	root, id := lxctest.Root(b), strconv.Itoa(lxctest.ID(b))
	pct := stopwatch.BuildLinked(b, root, ".")
	lxcpath := filepath.Join(root, "var/lib/lxc")
	ours := func(args ...string) stopwatch.Process {
		return stopwatch.Process{Path: pct, Args: args, Env: environment(root)}
	}
	bare := func(name string, args ...string) stopwatch.Process {
		return stopwatch.Process{Path: find(b, name), Args: append([]string{"-n", id, "-P", lxcpath}, args...), Env: os.Environ()}
	}
	create := []string{
		"create", id, busybox(b, root), "--rootfs", "local:0", "--unprivileged", "1", "--memory", "64", "--swap", "0", "--hostname", "bench",
	}
	if net {
		bridge, network := lxctest.Bridge(b)
		create = append(create, "--net0", "name=eth0,bridge="+bridge+",ip="+network+"7/24")
	}
	ours(create...).Time(b)
	ours("start", id).Time(b) // writes the configuration that LXC reads
	parts := parts(lxcpath, pct)
	ours("stop", id).Time(b)
	file := filepath.Join(root, "bare")
	write(b, file, bareConfig(b, root, id))
	turns := []*turn{
		{name: "start", ours: ours("start", id), bare: bare("lxc-start", "-d", "-f", file)},
		{name: "exec", ours: ours("exec", id, "--", "true"), bare: bare("lxc-attach", "--clear-env", "--", "true")},
		{name: "stop", ours: ours("stop", id), bare: bare("lxc-stop", "-k")},
	}
	for b.Loop() {
		for _, t := range turns {
			took, _ := t.ours.Time(b)
			t.oursTook = append(t.oursTook, took)
		}
		for _, t := range turns {
			took, _ := t.bare.Time(b)
			t.itTook = append(t.itTook, took)
		}
	}
	b.ReportMetric(0, "ns/op") // of all of it: means nothing
	for _, t := range turns {
		b.ReportMetric(stopwatch.Median(t.oursTook), "ms/"+t.name)
		b.ReportMetric(stopwatch.Median(t.itTook), "ms/bare-"+t.name)
		b.ReportMetric(stopwatch.Median(t.oursTook)-stopwatch.Median(t.itTook), "ms/"+t.name+"-overhead")
	}
	b.ReportMetric(float64(parts.monitor)/1024, "MiB/monitor")
	b.ReportMetric(float64(parts.ours), "processes-of-ours")
}

func find(b *testing.B, program string) string {
	b.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		b.Skip(err)
	}
	return path
}

// busybox puts a template on the storage "local" and returns its volume.
func busybox(b *testing.B, root string) string {
	b.Helper()
	made := lxctest.Busybox(b)
	to := filepath.Join(root, "var/lib/vz/template/cache", filepath.Base(made))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.Rename(made, to); err != nil {
		b.Fatal(err)
	}
	return "local:vztmpl/" + filepath.Base(made)
}

// bareConfig is what LXC has read of the container, less what has to do with us.
func bareConfig(b *testing.B, root, id string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(root, "var/lib/lxc", id, "config"))
	if err != nil {
		b.Fatal(err)
	}
	volume := filepath.Join(root, "var/lib/vz/images", id, "subvol-"+id+"-disk-0.subvol")
	text = regexp.MustCompile(`(?m)^lxc\.hook\..* --lxc-hook .*\n`).ReplaceAll(text, nil)
	return string(regexp.MustCompile(`(?m)^lxc\.rootfs\.path.*$`).ReplaceAll(text, []byte("lxc.rootfs.path = dir:"+volume)))
}

// residents is what stays while a container runs.
type residents struct {
	monitor int // KiB of LXC's monitor that are its own
	ours    int // processes of pct
}

func parts(lxcpath, pct string) (r residents) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		raw, _ := os.ReadFile(line)
		switch text := string(raw); {
		case strings.HasPrefix(text, "[lxc monitor] "+lxcpath):
			r.monitor += private(filepath.Dir(line))
		case strings.HasPrefix(text, pct):
			r.ours++
		}
	}
	return r
}

// private counts the KiB that only this process has.
func private(process string) (kib int) {
	text, _ := os.ReadFile(filepath.Join(process, "smaps_rollup"))
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(words[0], "Private_") {
			n, _ := strconv.Atoi(words[1])
			kib += n
		}
	}
	return kib
}
