package qm

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// configuredVMs are VMs whose keys act on what commands do, or are for others to read.
func configuredVMs() []keyVM {
	return []keyVM{
		{
			name: "configured", state: off,
			create: []string{
				"--memory", "128", "--name", "one", "--protection", "1", "--onboot", "1", "--startup", "order=3,up=10,down=20", "--autostart", "1", "--migrate_speed", "100",
				"--migrate_downtime", "0.5", "--shares", "500", "--scsi0", "local:1", "--scsi1", "local:1,format=qcow2", "--agent", "enabled=1,freeze-fs=0,fstrim_cloned_disks=1",
				"--efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1,ms-cert=2023w,format=qcow2", "--bios", "ovmf",
			},
			proofs: []keyProof{
				{"onboot startup", all(stored(`onboot: 1`, `startup: order=3,up=10,down=20`))},             // heeded when the node starts: pvenode startall
				{"autostart", stored(`autostart: 1`)},                                                      // of old files, no effect
				{"migrate_speed migrate_downtime", stored(`migrate_speed: 100`, `migrate_downtime: 0\.5`)}, // heeded by migration
				{"shares", stored(`shares: 500`)},                                                          // heeded by automatic ballooning
				{"agent.freeze-fs agent.freeze-fs-on-backup agent.guest-fsfreeze agent.fstrim_cloned_disks", all(stored(`agent: enabled=1,freeze-fs=0,fstrim_cloned_disks=1`), func(t *testing.T, l *keyLab) {
					l.with(t, []string{"--agent", "enabled=1,guest-fsfreeze=0"}, func() { stored(`agent: enabled=1,(guest-fsfreeze|freeze-fs)=0`)(t, l) })
				})}, // acting on the guest: see the tests of snapshots and moved disks
				{"meta meta.*", stored(`meta: creation-qemu=\d+\.\d+\.\d+,ctime=\d+`)},
				{"efidisk0.pre-enrolled-keys efidisk0.ms-cert", enrolled},
				{"protection", func(t *testing.T, l *keyLab) {
					l.fails(t, "protection mode", "destroy", "100")
					l.fails(t, "protection mode", "disk", "unlink", "100", "--idlist", "scsi0")
					l.do(t, "set", "100", "--protection", "0")
				}},
				{"unused[n] unused[n].*", func(t *testing.T, l *keyLab) {
					l.do(t, "disk", "unlink", "100", "--idlist", "scsi0")
					stored(`unused0: local:100/vm-100-disk-0\.raw`)(t, l)
					l.do(t, "set", "100", "--scsi0", "local:100/vm-100-disk-0.raw")
					if text := l.config(t); strings.Contains(text, "unused") {
						t.Error(text)
					}
				}},
				{"lock", func(t *testing.T, l *keyLab) {
					l.do(t, "set", "100", "--lock", "backup")
					l.fails(t, "VM is locked (backup)", "start", "100")
					l.fails(t, "VM is locked (backup)", "set", "100", "--name", "two")
					fits(t, "status", `lock: backup`, l.do(t, "status", "100", "--verbose"))
					l.do(t, "unlock", "100")
				}},
				{"snaptime parent", func(t *testing.T, l *keyLab) {
					l.do(t, "disk", "unlink", "100", "--idlist", "scsi0,unused0", "--force", "1")
					l.do(t, "snapshot", "100", "first")
					stored(`parent: first`)(t, l)
					fits(t, "file", `\[first\](.|\n)*snaptime: \d+`, l.config(t))
					l.do(t, "delsnapshot", "100", "first")
				}},
				{"template", func(t *testing.T, l *keyLab) {
					l.do(t, "template", "100")
					stored(`template: 1`)(t, l)
					l.fails(t, "you can't start a vm if it's a template", "start", "100")
				}},
			},
		},
		{
			name: "suspended", storage: keyStorage, create: []string{"--memory", "64", "--vmstatestorage", "second", "--vga", "none", "--cpu", "qemu64"},
			proofs: []keyProof{
				{"freeze", query("query-status", `"status": ?"prelaunch"`)},
				{"vmstatestorage vmstate runningcpu runningmachine runningmachine.*", func(t *testing.T, l *keyLab) {
					l.do(t, "suspend", "100", "--todisk", "1")
					stored(`vmstate: second:100/vm-100-state-suspend-\S+`, `lock: suspended`)(t, l)
					fits(t, "file", `runningmachine: pc-i440fx-\d+\.\d+\+pve\d`, l.config(t))
					fits(t, "file", `runningcpu: qemu64`, l.config(t))
					l.do(t, "start", "100")
					if text := l.config(t); strings.Contains(text, "vmstate:") || strings.Contains(text, "running") {
						t.Error(text)
					}
				}},
			},
		},
		{
			name: "seed", state: off, storage: keyStorage, create: []string{"--memory", "64", "--name", "seed", "--freeze", "1", "--ide2", "local:cloudinit"},
			proofs: []keyProof{{"citype", seedKinds}, {"cicustom cicustom.*", customSeed}, {"ciuser", newSeed}},
		},
		{
			name: "custom-cpu", prepare: func(t *testing.T, l *keyLab) {
				l.write(t, "etc/pve/virtual-guest/cpu-models.conf", "cpu-model: mine\n    flags +aes;+avx;-pcid\n    level 12\n    reported-model Nehalem\n    hidden 1\n    phys-bits 42\n")
			},
			create: []string{"--memory", "64", "--cpu", "custom-mine,flags=+pdpe1gb"},
			proofs: []keyProof{{"cpu.cputype", line([]string{"--cpu", "x86-64-v2-AES"}, `-cpu '?qemu64,\+aes,\+pni,\+popcnt,\+sse4\.1,\+sse4\.2,\+ssse3`)}, {"cpu.reported-model cpu.cputype cpu.flags", all(
				prop("/machine/unattached/device[0]", "type", "Nehalem-x86_64-cpu"), prop("/machine/unattached/device[0]", "aes", true), prop("/machine/unattached/device[0]", "avx", true), prop("/machine/unattached/device[0]", "pdpe1gb", true),
				prop("/machine/unattached/device[0]", "level", 12), prop("/machine/unattached/device[0]", "phys-bits", 42), prop("/machine/unattached/device[0]", "kvm", false))}},
		},
		{
			name: "hugepages", state: off, create: []string{"--memory", "64", "--freeze", "1", "--numa", "1", "--hugepages", "2"},
			proofs: []keyProof{{"hugepages keephugepages", hugePages}},
		},
	}
}

// seed returns the bytes of the cloud-init disc that is made with more options.
func seed(t *testing.T, l *keyLab, options ...string) (raw []byte) {
	t.Helper()
	l.with(t, options, func() {
		l.do(t, "cloudinit", "update", "100")
		raw = disc(t, l)
	})
	return raw
}

// disc returns the bytes of the cloud-init disc.
func disc(t *testing.T, l *keyLab) []byte {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(l.root, "var/lib/vz/images/100/vm-100-cloudinit.*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	path := filepath.Join(l.root, "seed")
	command(t, "qemu-img", "convert", "-O", "raw", found[0], path)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// seedKinds shows the layouts of the disc by their labels and files.
func seedKinds(t *testing.T, l *keyLab) {
	for kind, has := range map[string][]string{
		"nocloud":      {"cidata", "#cloud-config", "instance-id: "},
		"configdrive2": {"config-2", "#cloud-config", `"uuid"`},
		"opennebula":   {"CONTEXT", "USERNAME=anna"},
	} {
		raw := bytes.ToLower(seed(t, l, "--citype", kind, "--ciuser", "anna"))
		for _, text := range has {
			if !bytes.Contains(raw, bytes.ToLower([]byte(text))) {
				t.Errorf("%s: no %s on the disc", kind, text)
			}
		}
	}
}

// customSeed shows that snippets replace what would be made.
func customSeed(t *testing.T, l *keyLab) {
	for _, part := range []string{"user", "meta", "network", "vendor"} {
		l.write(t, "var/lib/vz/snippets/"+part, "# my own "+part+"\n")
	}
	raw := seed(t, l, "--citype", "nocloud", "--cicustom", "user=local:snippets/user,meta=local:snippets/meta,network=local:snippets/network,vendor=local:snippets/vendor")
	for _, part := range []string{"user", "meta", "network", "vendor"} {
		if !bytes.Contains(raw, []byte("# my own "+part+"\n")) {
			t.Errorf("the snippet for %s is not on the disc", part)
		}
	}
}

// newSeed shows that a start writes the disc anew, with what was changed since.
func newSeed(t *testing.T, l *keyLab) {
	l.do(t, "set", "100", "--ciuser", "carl")
	fits(t, "pending", `ciuser`, l.do(t, "cloudinit", "pending", "100"))
	l.do(t, "start", "100")
	l.do(t, "stop", "100")
	fits(t, "disc", `user: carl`, string(disc(t, l)))
}

// enrolled shows that the firmware's variables have the keys that were asked for.
func enrolled(t *testing.T, l *keyLab) {
	stored(`efidisk0: local:100/vm-100-disk-\d\.qcow2,efitype=4m,ms-cert=2023w,pre-enrolled-keys=1`)(t, l)
	images, err := filepath.Glob(filepath.Join(l.root, "var/lib/vz/images/100/vm-100-disk-*.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		raw := filepath.Join(l.root, "vars")
		command(t, "qemu-img", "convert", "-O", "raw", image, raw)
		info, err := os.Stat(raw)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != 528<<10 {
			continue
		}
		text, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Microsoft UEFI CA 2023", "Windows UEFI CA 2023"} {
			if !bytes.Contains(text, []byte(name)) {
				t.Errorf("no key named %s", name)
			}
		}
		return
	}
	t.Errorf("no firmware variables among %v", images)
}

// hugePages shows that memory comes of huge pages, that they are given back, or kept
// where that is wanted.
func hugePages(t *testing.T, l *keyLab) {
	const count = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	pages := func() int {
		text, err := os.ReadFile(count)
		if err != nil {
			t.Skip("no huge pages of 2 MiB:", err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := pages()
	if err := os.WriteFile(count, []byte(strconv.Itoa(before+32)), 0o644); err != nil || pages() < before+32 {
		t.Skip("the kernel gives no huge pages:", err)
	}
	reset := func() { _ = os.WriteFile(count, []byte(strconv.Itoa(before)), 0o644) }
	reset()
	t.Cleanup(func() {
		_ = unix.Unmount("/run/hugepages/kvm/2048kB", 0) // stays busy, and mounted, where others use it
		for _, dir := range []string{"/run/hugepages/kvm/2048kB", "/run/hugepages/kvm", "/run/hugepages"} {
			_ = os.Remove(dir)
		}
		reset()
	})
	l.do(t, "start", "100")
	onHost("/proc/PID/smaps", `KernelPageSize: +2048 kB`)(t, l)
	arg(`memory-backend-file,id=ram-node0,size=64M,mem-path=/run/hugepages/kvm/2048kB,share=on,prealloc=yes`)(t, l)
	l.do(t, "stop", "100")
	if n := pages(); n != before {
		t.Errorf("%d huge pages after the end, %d before", n, before)
	}
	l.do(t, "set", "100", "--keephugepages", "1")
	l.do(t, "start", "100")
	l.do(t, "stop", "100")
	if n := pages(); n != before+32 {
		t.Errorf("%d huge pages were kept, want %d", n-before, 32)
	}
}
