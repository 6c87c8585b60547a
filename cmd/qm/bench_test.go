package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/virtsmith/virtsmith/cmd/internal/stopwatch"
)

// BenchmarkCommand times whole processes, from the call to the exit, in worlds of 1, 1,000
// and 10,000 guests. Each run of a command follows one of a Go program that does nothing, which is
// what a process costs here and now; the metrics are medians. Memory is the most that the process
// had at once.
func BenchmarkCommand(b *testing.B) {
	dir := b.TempDir()
	qm, nothing := stopwatch.Build(b, dir, "."), stopwatch.Empty(b, dir)
	for _, guests := range []int{1, 1000, 10000} {
		root := filepath.Join(dir, strconv.Itoa(guests))
		generate(b, root, guests)
		last := strconv.Itoa(99 + guests)
		for _, c := range []struct {
			name string
			args []string
			line string // to complete
		}{
			{name: "status", args: []string{"status", last}},
			{name: "config", args: []string{"config", last}},
			{name: "list", args: []string{"list"}},
			{name: "showcmd", args: []string{"showcmd", last}},
			{name: "completion", line: "qm start 1"},
		} {
			b.Run(fmt.Sprintf("%s/guests=%d", c.name, guests), func(b *testing.B) {
				p := stopwatch.Process{Path: qm, Args: c.args, Env: append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE=pve1")}
				if _, err := exec.LookPath("qemu-system-x86_64"); err != nil && c.name == "showcmd" {
					b.Skip("no qemu-system-x86_64 on this machine")
				}
				if c.line != "" {
					p.Args = []string{"qm", "1", "start"}
					p.Env = append(p.Env, "COMP_LINE="+c.line, "COMP_POINT="+strconv.Itoa(len(c.line)))
					p.Path = link(b, qm)
				}
				p.Bench(b, stopwatch.Process{Path: nothing})
			})
		}
	}
}

// link gives the program its name, by which it knows that the shell calls it to complete.
func link(b *testing.B, path string) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "qm")
	if err := os.Symlink(path, name); err != nil {
		b.Fatal(err)
	}
	return name
}

// guestConfig is the configuration of guest n.
const guestConfig = `#Guest %[1]d%%0Aof a bench
agent: 1
boot: order=scsi0;ide2;net0
cores: 2
cpu: x86-64-v2-AES
ide2: none,media=cdrom
memory: %[2]d
meta: creation-qemu=10.1.2,ctime=1749000000
name: guest-%[1]d
net0: virtio=BC:24:11:%02[3]X:%02[4]X:01
numa: 0
onboot: 1
ostype: l26
parent: before
scsi0: local:%[1]d/vm-%[1]d-disk-0.qcow2,discard=on,iothread=1,size=32G
scsi1: local:%[1]d/vm-%[1]d-disk-1.qcow2,iothread=1,size=100G
scsihw: virtio-scsi-single
serial0: socket
smbios1: uuid=11111111-2222-4333-8444-%012[1]d
sockets: 1
tags: bench;web
vmgenid: aaaaaaaa-bbbb-4ccc-8ddd-%012[1]d

[before]
boot: order=scsi0;ide2;net0
cores: 1
memory: %[2]d
name: guest-%[1]d
ostype: l26
scsi0: local:%[1]d/vm-%[1]d-disk-0.qcow2,discard=on,iothread=1,size=32G
scsihw: virtio-scsi-single
snaptime: 1749000000
sockets: 1
`

// generate makes a world with so many guests from 100 on.
func generate(b *testing.B, root string, guests int) {
	b.Helper()
	dir := filepath.Join(root, "etc/pve/nodes/pve1/qemu-server")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for n := 100; n < 100+guests; n++ {
		text := fmt.Sprintf(guestConfig, n, 512<<(n%4), n>>8&0xff, n&0xff)
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)+".conf"), []byte(text), 0o640); err != nil {
			b.Fatal(err)
		}
	}
}
