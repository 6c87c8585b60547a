package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

// target makes a container of the given files.
func target(t *testing.T, files map[string]string) (*Target, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := rootfs.Open(dir, rootfs.Owner{UID: os.Getuid(), GID: os.Getgid()})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { root.Close() })
	return &Target{Root: root, Config: &container.Config{}, Env: Env{
		Printf: t.Logf, Warnf: t.Logf, Random: func() float64 { return 0.5 },
		UUID: func() string { return "c0ffee00-0000-0000-0000-000000000000" },
	}}, dir
}

func TestManaged(t *testing.T) {
	const ours = begin + "\nours\n" + end + "\n"
	const gone = "(no file)"
	for _, tt := range []struct {
		name, old, text string
		place           Place
		want            string
	}{
		{name: "new file", old: gone, text: "ours\n", want: ours},
		{name: "text without a line end", old: gone, text: "ours", want: ours},
		{name: "nothing to write", old: gone, text: "", want: gone},
		{name: "empty file", old: "", text: "ours\n", want: ours},
		{name: "append", old: "theirs\n", text: "ours\n", want: "theirs\n" + ours},
		{name: "append to a file without a line end", old: "theirs", text: "ours\n", want: "theirs\n" + ours},
		{name: "prepend", old: "theirs\n", text: "ours\n", place: Prepend, want: ours + "theirs\n"},
		{name: "replace", old: "theirs\n", text: "ours\n", place: Replace, want: ours},
		{name: "nothing of ours in it", old: "theirs\n", text: "", place: Replace, want: "theirs\n"},
		{name: "in its place", old: "a\n" + begin + "\nold\nolder\n" + end + "\nb\n", text: "ours\n", place: Replace, want: "a\n" + ours + "b\n"},
		{name: "lines written otherwise", old: "#--- BEGIN  PVE\nold\n# --- end PVE\nb\n", text: "ours\n", want: ours + "b\n"},
		{name: "taken out", old: "a\n" + ours + "b\n", text: "", want: "a\nb\n"},
		{name: "taken out of a file of ours", old: ours, text: "", want: gone},
		{name: "begin without an end", old: begin + "\ntheirs\n", text: "ours\n", want: begin + "\ntheirs\n" + ours},
		{name: "begin without an end, again", old: begin + "\ntheirs\n" + ours, text: "new\n", want: begin + "\ntheirs\n" + begin + "\nnew\n" + end + "\n"},
		{name: "end without a begin", old: end + "\ntheirs\n", text: "ours\n", want: end + "\ntheirs\n" + ours},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"etc/other": ""}
			if tt.old != gone {
				files["etc/file"] = tt.old
			}
			ct, dir := target(t, files)
			for range 2 {
				if err := ct.Managed("/etc/file", tt.text, tt.place); err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(filepath.Join(dir, "etc/file"))
				got := string(data)
				if errors.Is(err, fs.ErrNotExist) {
					got = gone
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

func TestHostResolver(t *testing.T) {
	servers, domains := hostResolver("# c\ndomain a.example\nnameserver 192.0.2.1\nnameserver\nsearch b.example c.example\n" +
		"nameserver 192.0.2.2\nnameserver 2001:db8::1\nnameserver 192.0.2.4\n")
	if diff := cmp.Diff([]string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}, servers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b.example"}, domains); diff != "" {
		t.Error(diff)
	}
}

func TestParseRelease(t *testing.T) {
	got := ParseRelease("# comment\nID=debian\nNAME=\"A \\\"B\\\" \\$C\" rest\nVERSION='12 (x)'\n ID_LIKE = no\nVERSION_ID=24.04 # c\nBROKEN=\"open\nEMPTY=\n1X=2\n")
	want := map[string]string{"ID": "debian", "NAME": `A "B" $C`, "VERSION": "12 (x)", "VERSION_ID": "24.04", "BROKEN": "open", "EMPTY": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMachineID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef\n"
	const gone = "(no file)"
	const fresh = "c0ffee00000000000000000000000000\n"
	for _, tt := range []struct {
		name      string
		clone     bool
		systemd   bool
		files     map[string]string
		etc, dbus string
	}{
		{name: "new", systemd: true, files: map[string]string{"etc/machine-id": id, "var/lib/dbus/machine-id": id}, etc: gone, dbus: gone},
		{name: "clone", clone: true, systemd: true, files: map[string]string{"etc/machine-id": id, "var/lib/dbus/machine-id": id}, etc: "\n", dbus: gone},
		{name: "clone that shall boot as if new", clone: true, systemd: true, files: map[string]string{"etc/machine-id": "uninitialized\n"}, etc: "uninitialized\n", dbus: gone},
		{name: "clone without an id", clone: true, systemd: true, etc: gone, dbus: gone},
		{name: "clone without systemd", clone: true, files: map[string]string{"etc/machine-id": id, "var/lib/dbus/machine-id": id}, etc: fresh, dbus: fresh},
		{name: "new without systemd", files: map[string]string{"var/lib/dbus/machine-id": id}, etc: gone, dbus: fresh},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ct, dir := target(t, tt.files)
			if tt.systemd {
				if err := os.MkdirAll(filepath.Join(dir, "usr/lib/systemd"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "usr/lib/systemd/systemd"), nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := ct.clearMachineID(tt.clone); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"etc/machine-id": tt.etc, "var/lib/dbus/machine-id": tt.dbus} {
				data, err := os.ReadFile(filepath.Join(dir, name))
				got := string(data)
				if errors.Is(err, fs.ErrNotExist) {
					got = gone
				}
				if got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestDetectArch(t *testing.T) {
	elf := func(class, order, low, high byte) string {
		head := append([]byte{0x7f, 'E', 'L', 'F', class, order, 1}, make([]byte, 40)...)
		head[18], head[19] = low, high
		return string(head)
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
		err   bool
	}{
		{name: "amd64", files: map[string]string{"bin/sh": elf(2, 1, 62, 0)}, want: "amd64"},
		{name: "i386", files: map[string]string{"bin/sh": elf(1, 1, 3, 0)}, want: "i386"},
		{name: "arm64", files: map[string]string{"bin/sh": elf(2, 1, 183, 0)}, want: "arm64"},
		{name: "armhf", files: map[string]string{"bin/sh": elf(1, 1, 40, 0)}, want: "armhf"},
		{name: "riscv64", files: map[string]string{"bin/sh": elf(2, 1, 243, 0)}, want: "riscv64"},
		{name: "riscv32", files: map[string]string{"bin/sh": elf(1, 1, 243, 0)}, want: "riscv32"},
		{name: "unknown, big endian", files: map[string]string{"bin/sh": elf(2, 2, 0, 22)}, err: true},
		{name: "only an init", files: map[string]string{"sbin/init": elf(2, 1, 62, 0)}, want: "amd64"},
		{name: "script with its shell", files: map[string]string{"sbin/init": "#! /nix/sh -e\n", "nix/sh": elf(2, 1, 183, 0)}, want: "arm64"},
		{name: "script without one", files: map[string]string{"sbin/init": "#!\n"}, err: true},
		{name: "short", files: map[string]string{"bin/sh": "\x7fELF"}, err: true},
		{name: "nothing", err: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ct, _ := target(t, tt.files)
			got, err := DetectArch(ct.Root)
			if got != tt.want || (err != nil) != tt.err {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add("ID=debian\nNAME=\"x\\\"y\"\n")
	f.Add("ID='a\nB=\"\\")
	f.Fuzz(func(t *testing.T, text string) { ParseRelease(text) })
}

// Whatever stands in interfaces: what comes out stays the same when it is written again.
func FuzzIfupdown(f *testing.F) {
	f.Add("auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress 1.2.3.4\n\tpost-up x\n", true)
	f.Add("iface eth0 inet dhcp\n# --- BEGIN PVE ---\n\tx y\niface eth0 inet static\n# --- END PVE ---\n", false)
	f.Add("iface eth0 inet dhcp\nallow-hotplug eth0\nauto\n a b\nc\n", false)
	ct := &Target{Config: &container.Config{Net: map[int]container.Net{
		0: {Name: "eth0", IP: new("192.0.2.1/24"), Gateway: new("198.51.100.1"), IP6: new("auto")},
		1: {Name: "eth1", IP: new("dhcp")},
	}}}
	cards, err := ct.Cards()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, slashes bool) {
		once := interfaces(text, cards, slashes)
		twice := interfaces(once, cards, slashes)
		if again := interfaces(twice, cards, slashes); again != twice {
			t.Fatalf("not the same:\n%s\n---\n%s", twice, again)
		}
	})
}
