package pct

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// keptCTs is a container off with what only commands heed.
func keptCTs() []keyCT {
	return []keyCT{{
		name: "kept", off: true,
		lines: []string{"#About the container", "onboot: 1", "startup: order=3,up=10,down=20", "tags: one;two", "arch: amd64"},
		proofs: []keyProof{
			{keys: "onboot startup tags", show: stored("onboot: 1", "startup: order=3,up=10,down=20", "tags: one;two")},
			{keys: "description", show: func(t *testing.T, l *keyLab) {
				fits(t, "config", `(?m)^description: About the container%0A$`, l.run("config"))
				fits(t, "file", `(?m)^#About the container$`, l.config(l.id))
			}},
			{keys: "protection", show: func(t *testing.T, l *keyLab) {
				l.with(t, []string{"protection: 1"}, func() { l.fails("protection mode enabled", "destroy") })
			}},
			{keys: "lock", show: func(t *testing.T, l *keyLab) {
				for kind := range strings.FieldsSeq("backup create destroyed disk fstrim migrate rollback snapshot snapshot-delete") {
					l.with(t, []string{"lock: " + kind}, func() { l.fails(regexp.QuoteMeta("CT is locked ("+kind+")"), "start") })
				}
				l.with(t, []string{"lock: mounted"}, func() { l.fails(`CT is locked \(mounted\)`, "set", "--memory", "32") })
				l.with(t, []string{"lock: backup"}, func() {
					l.run("unlock")
					if strings.Contains(l.config(l.id), "lock:") {
						t.Error("still locked")
					}
				})
			}},
			{keys: "template", show: refused("you can't start a CT if it's a template", "template: 1")},
			{keys: "parent snaptime", show: func(t *testing.T, l *keyLab) {
				lines := []string{"parent: two", "", "[one]", "arch: amd64", "hostname: was", "ostype: alpine", "snaptime: 1600000000", "", "[two]", "arch: amd64", "ostype: alpine", "parent: one", "snaptime: 1700000000"}
				l.with(t, lines, func() {
					out := l.run("listsnapshot")
					fits(t, "listsnapshot", `(?s)-> one +2020-09-13 .*-> two +2023-11-14 .*-> current`, out)
					if deep := regexp.MustCompile(`(?m)^ +.-> `).FindAllString(out, -1); len(deep) < 1 {
						t.Errorf("one is not below the other: %s", out)
					}
				})
			}},
			{keys: "dev[n]", show: shows(refused("dev3: Device /dev/none does not exist", "dev3: /dev/none"), refused("dev3: .*/dev/shm is not a device", "dev3: /dev/shm"))},
			{keys: "ostype", show: line([]string{"ostype: alpine"}, "lxc.signal.halt = SIGUSR2", "lxc.signal.reboot = SIGTERM")},
			{keys: "arch", show: func(t *testing.T, l *keyLab) {
				for arch := range strings.FieldsSeq("amd64 i386 arm64 armhf riscv32 riscv64") {
					line([]string{"arch: " + arch}, "lxc.arch = "+arch)(t, l)
				}
			}},
			{keys: "tty console hostname memory swap cores cpulimit", show: func(t *testing.T, l *keyLab) {
				line([]string{"tty: 0", "console: 0", "hostname: other", fmt.Sprint("memory: ", 100)}, "lxc.tty.max = 0", "lxc.console.path = none", "lxc.uts.name = other")(t, l)
			}},
		},
	}}
}
