package all_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/setup/all"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/run"
)

const netConfig = "hostname: ct1\nnet0: name=eth0,bridge=vmbr0,ip=192.0.2.5/24,gw=192.0.2.1\n"

// debian is a small tree of Debian 12.
func debian(more ...node) []node {
	return append([]node{
		{Path: "/etc/debian_version", Content: "12.5\n"},
		{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/sh\n"},
		{Path: "/etc/shadow", Content: "root:*:1:0:99999:7:::\n", Mode: "0640"},
		{Path: "/root", Type: "dir"},
	}, more...)
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes []node
		want  string
		err   error
	}{
		{name: "by ID", nodes: []node{{Path: "/etc/os-release", Content: "ID=alpine\n"}}, want: "alpine"},
		{name: "by a kin's ID", nodes: []node{{Path: "/etc/os-release", Content: "ID=\"almalinux\"\n"}}, want: "centos"},
		{name: "by the other os-release", nodes: []node{{Path: "/usr/lib/os-release", Content: "ID=arch\n"}}, want: "archlinux"},
		{name: "by a link to it", nodes: []node{{Path: "/usr/lib/os-release", Content: "ID=arch\n"}, {Path: "/etc/os-release", Type: "symlink", Target: "/usr/lib/os-release"}}, want: "archlinux"},
		{name: "Devuan has Debian's file", nodes: []node{{Path: "/etc/debian_version"}, {Path: "/etc/devuan_version"}}, want: "devuan"},
		{name: "Fedora has Red Hat's file", nodes: []node{{Path: "/etc/redhat-release"}, {Path: "/etc/fedora-release"}}, want: "fedora"},
		{name: "by a folder", nodes: []node{{Path: "/nix/store", Type: "dir"}}, want: "nixos"},
		{name: "unknown ID with a known file", nodes: []node{{Path: "/etc/os-release", Content: "ID=mine\n"}, {Path: "/etc/arch-release"}}, want: "archlinux"},
		{name: "unknown ID", nodes: []node{{Path: "/etc/os-release", Content: "ID=mine\n"}}, want: "unmanaged", err: setup.ErrUnknown},
		{name: "nothing at all", want: "unmanaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, _ := build(t, tt.nodes)
			got, err := setup.Detect(root, all.Distributions(), t.Logf)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// The distributions have names of their own, and each can be asked for.
func TestDistributions(t *testing.T) {
	var names []string
	for _, d := range all.Distributions() {
		if d.Open == nil || slices.Contains(names, d.Type) {
			t.Errorf("%q", d.Type)
		}
		names = append(append(names, d.Type), d.IDs...)
	}
	// Each that the configuration can name, but the one that needs nothing.
	for _, name := range []string{"debian", "devuan", "ubuntu", "centos", "fedora", "opensuse", "archlinux", "alpine", "gentoo", "nixos"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s", name)
		}
	}
}

func TestOpen(t *testing.T) {
	root, _ := build(t, debian())
	env := envOf(t)
	var warnings []string
	env.Warnf = func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	ct, err := setup.Open(root, configOf(t, "ostype: alpine\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	if ct.OSType() != "debian" || ct.TTYDir() != "" {
		t.Errorf("%q %q", ct.OSType(), ct.TTYDir())
	}
	if !slices.Equal(warnings, []string{"got unexpected ostype (debian != alpine)"}) {
		t.Errorf("%q", warnings)
	}
	for _, text := range []string{"", "none", "3.0\n"} {
		if err := root.WriteFile("/etc/debian_version", []byte(text), rootfs.Attr{}); err != nil {
			t.Fatal(err)
		}
		if _, err := setup.Open(root, configOf(t, ""), env); err == nil {
			t.Errorf("version %q was taken", text)
		}
	}
}

// Where files are expected, others put links out of the root, named pipes, folders and loops.
func TestHostileTree(t *testing.T) {
	root, dir := build(t, debian())
	secret := filepath.Join(dir, "../secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf", "inittab", "crontab", "securetty", "lsb-release", "os-release", "timezone", "machine-id"} {
		path := filepath.Join(dir, "etc", name)
		for i, bait := range []func() error{
			func() error { return os.Symlink(secret, path) },
			func() error { return os.Symlink("../../secret", path) },
			func() error { return os.Symlink("/proc/self/root"+secret, path) },
			func() error { return os.Symlink(name, path) },
			func() error { return syscall.Mkfifo(path, 0o644) },
		} {
			_ = os.Remove(path)
			if err := bait(); err != nil {
				t.Fatal(err)
			}
			ct, err := setup.Open(root, configOf(t, netConfig), envOf(t))
			if err == nil {
				err = ct.PostCreate(t.Context(), setup.Account{Hash: "$6$a$b", SSHKeys: "key"})
			}
			if err == nil {
				err = ct.PreStart(t.Context())
			}
			if err != nil {
				t.Errorf("%s, bait %d: %v", name, i, err)
			}
			if got, _ := os.ReadFile(secret); string(got) != "secret\n" {
				t.Fatalf("%s, bait %d: the secret is %q", name, i, got)
			}
			// Looking through a bait that is still there would lead the test itself out, or hang it.
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), "secret") {
				t.Errorf("%s, bait %d: the secret was copied in", name, i)
			}
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "../*")); len(names) != 2 {
		t.Errorf("made outside: %v", names)
	}
}

// A home that leads out of the root stays in it.
func TestHostileHome(t *testing.T) {
	root, dir := build(t, []node{
		{Path: "/etc/debian_version", Content: "12.5\n"},
		{Path: "/etc/passwd", Content: "root:x:0:0:root:/../../home:/bin/sh\n"},
	})
	if err := os.Mkdir(filepath.Join(dir, "../home"), 0o755); err != nil {
		t.Fatal(err)
	}
	ct, err := setup.Open(root, configOf(t, netConfig), envOf(t))
	if err != nil {
		t.Fatal(err)
	}
	err = ct.PostCreate(t.Context(), setup.Account{SSHKeys: "key"})
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Error(err)
	}
	if names, _ := os.ReadDir(filepath.Join(dir, "../home")); len(names) > 0 {
		t.Errorf("written outside: %v", names)
	}
}

func TestPassword(t *testing.T) {
	for _, tt := range []struct {
		name, hash string
		nodes      []node
		want       map[string]string
		err        string
	}{
		{name: "shadow", hash: "$6$a$b", nodes: debian(), want: map[string]string{"etc/shadow": "root:$6$a$b:19675:0:99999:7:::\n", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"}},
		{name: "locked", hash: "", nodes: debian(), want: map[string]string{"etc/shadow": "root:*:19675:0:99999:7:::\n"}},
		{name: "no hash", hash: "a:b", nodes: debian(), err: "no hash"},
		{name: "without shadow", hash: "$6$a$b", nodes: []node{{Path: "/etc/debian_version", Content: "12\n"}, {Path: "/etc/passwd", Content: "rooty:x:1:\nroot::0:0:root:/root:/bin/sh\n"}},
			want: map[string]string{"etc/passwd": "rooty:x:1:\nroot:$6$a$b:0:0:root:/root:/bin/sh\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, dir := build(t, tt.nodes)
			ct, err := setup.Open(root, configOf(t, ""), envOf(t))
			if err != nil {
				t.Fatal(err)
			}
			err = ct.Password("root", tt.hash)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatal(err)
			}
			for name, want := range tt.want {
				if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
					t.Errorf("%s: %q %v", name, got, err)
				}
			}
			if info, err := os.Stat(filepath.Join(dir, "etc/shadow")); err == nil && info.Mode() != 0o640 {
				t.Errorf("mode of shadow is now %v", info.Mode())
			}
		})
	}
}

func TestHostKeys(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	root, dir := build(t, debian(node{Path: "/etc/ssh/ssh_host_dsa_key", Content: "of everybody"}, node{Path: "/etc/ssh/sshd_config", Content: "x"}))
	env := envOf(t)
	var said []string
	env.Printf = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	ct, err := setup.Open(root, configOf(t, "hostname: ct1.example.org\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	if err := ct.PostCreate(t.Context(), setup.Account{}); err != nil {
		t.Fatal(err)
	}
	names, err := root.ReadDir("/etc/ssh")
	want := []string{
		"ssh_host_ecdsa_key", "ssh_host_ecdsa_key.pub", "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub",
		"ssh_host_rsa_key", "ssh_host_rsa_key.pub", "sshd_config",
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%v %v", names, err)
	}
	if info, err := root.Stat("/etc/ssh/ssh_host_rsa_key"); err != nil || info.Mode != 0o600 {
		t.Errorf("%v %v", info.Mode, err)
	}
	public, err := root.ReadFile("/etc/ssh/ssh_host_ed25519_key.pub", 1000)
	if err != nil || !strings.HasSuffix(string(public), " root@ct1\n") {
		t.Errorf("%q %v", public, err)
	}
	if len(said) != 6 || said[0] != "Creating SSH host key 'ssh_host_rsa_key' - this may take some time ..." || !strings.HasPrefix(said[5], "done: SHA256:") {
		t.Errorf("%q", said)
	}
	if left, _ := filepath.Glob(filepath.Join(env.TempDir, ".*")); len(left) > 0 {
		t.Errorf("left in %s of the host: %v", dir, left)
	}
}

// missing is a node without any program.
type missing struct{}

func (missing) Run(_ context.Context, c run.Cmd) error {
	return &run.Error{Cmd: c, ExitCode: -1, Err: &exec.Error{Name: c.Path, Err: exec.ErrNotFound}}
}

func TestHostKeysWithoutKeygen(t *testing.T) {
	root, _ := build(t, debian(node{Path: "/etc/ssh/ssh_host_rsa_key", Content: "of everybody"}))
	env := envOf(t)
	env.Runner = missing{}
	ct, err := setup.Open(root, configOf(t, ""), env)
	if err != nil {
		t.Fatal(err)
	}
	if err := ct.PostCreate(t.Context(), setup.Account{}); err != nil {
		t.Fatal(err)
	}
	if names, err := root.ReadDir("/etc/ssh"); err != nil || len(names) > 0 {
		t.Errorf("%v %v", names, err)
	}
}

// A root that is full or read-only keeps no container from starting that needs no change, nor one
// that does.
func TestFullAndReadOnly(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	_, dir := build(t, nil)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=256k"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, n := range debian() {
		path := filepath.Join(dir, n.Path)
		if n.Type == "dir" {
			path = filepath.Join(path, "x")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if n.Type != "dir" {
			if err := os.WriteFile(path, []byte(n.Content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	root, err := rootfs.Open(dir, rootfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var warnings []string
	start := func(config string) error {
		warnings = nil
		env := envOf(t)
		env.Warnf = func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
		ct, err := setup.Open(root, configOf(t, config), env)
		if err != nil {
			return err
		}
		return ct.PreStart(t.Context())
	}
	if err := start(netConfig); err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := start(netConfig); err != nil || len(warnings) > 0 {
		t.Error("full, nothing to do:", err, warnings)
	}
	if err := start("hostname: other\n"); err != nil || len(warnings) == 0 || !strings.Contains(warnings[0], "is full") {
		t.Error("full:", err, warnings)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := start("hostname: other\n"); err != nil || len(warnings) == 0 || !strings.Contains(warnings[0], "is read-only") {
		t.Error("read-only:", err, warnings)
	}
}

// What a hot change writes, and nothing else.
func TestHotChange(t *testing.T) {
	root, dir := build(t, debian())
	ct, err := setup.Open(root, configOf(t, netConfig+"nameserver: 192.0.2.53\n"), envOf(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"DNS", ct.DNS, []string{"out /etc/resolv.conf"}},
		{"host name", ct.Hostname, []string{"out /etc/hostname", "out /etc/hosts"}},
		{"network", ct.Network, []string{"out /etc/network/", "out /etc/network/interfaces"}},
		{"time zone", ct.Timezone, nil},
		{"clone", ct.PostClone, nil},
	} {
		before := tree(t, dir)
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range changes(before, tree(t, dir)) {
			got = append(got, f.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s changed %v", tt.name, got)
		}
	}
}

// Files of an unprivileged container belong to its root.
func TestOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to give files away")
	}
	root, dir := build(t, debian(node{Path: "/etc/ssh/sshd_config"}))
	root.Close()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 100000, 100000)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "etc/shadow"), 100000, 100042); err != nil {
		t.Fatal(err)
	}
	mapped, err := rootfs.Open(dir, rootfs.Owner{UID: 100000, GID: 100000})
	if err != nil {
		t.Fatal(err)
	}
	defer mapped.Close()
	ct, err := setup.Open(mapped, configOf(t, netConfig+"unprivileged: 1\n"), envOf(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := ct.PostCreate(t.Context(), setup.Account{Hash: "$6$a$b", SSHKeys: "key"}); err != nil {
		t.Fatal(err)
	}
	for name, e := range tree(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		gid := uint32(100000)
		if name == "/etc/shadow" {
			gid = 100042
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 100000 || st.Gid != gid {
			t.Errorf("%s: owner %d:%d", e.name, st.Uid, st.Gid)
		}
	}
}

// Real templates are told apart and set up, twice, and the second time changes nothing.
func TestTemplates(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to unpack a template")
	}
	for _, tt := range []struct {
		name, ostype string
		archive      func(testing.TB) string
	}{{"busybox", "alpine", testct.Busybox}, {"debian", "debian", testct.Debian}} {
		t.Run(tt.name, func(t *testing.T) {
			archive := tt.archive(t)
			root, dir := build(t, nil)
			if strings.HasSuffix(archive, ".gz") {
				untar(t, archive, dir)
			} else if out, err := exec.Command("tar", "-C", dir, "--numeric-owner", "-xf", archive, "--exclude=./dev/*").CombinedOutput(); err != nil {
				t.Skipf("tar: %v: %s", err, out)
			}
			ct, err := setup.Open(root, configOf(t, netConfig), envOf(t))
			if err != nil {
				t.Fatal(err)
			}
			if ct.OSType() != tt.ostype {
				t.Errorf("ostype %s", ct.OSType())
			}
			if arch, err := setup.DetectArch(root); err != nil || arch == "" {
				t.Errorf("architecture %q %v", arch, err)
			}
			if err := ct.PostCreate(t.Context(), setup.Account{Hash: "$6$a$b", SSHKeys: "key"}); err != nil {
				t.Fatal(err)
			}
			if err := ct.PreStart(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := inodes(t, dir)
			if err := ct.PreStart(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, inode := range inodes(t, dir) {
				if before[name] != inode {
					t.Errorf("%s was written again", name)
				}
			}
			text, err := root.ReadFile("/etc/network/interfaces", 1<<20)
			if err != nil || !strings.Contains(string(text), "\taddress 192.0.2.5") || !strings.Contains(string(text), "\n\tgateway 192.0.2.1\n") {
				t.Errorf("%s %v", text, err)
			}
		})
	}
}

// What the set-up adds to each start of a container that needs no change.
func BenchmarkPreStart(b *testing.B) {
	root, err := rootfs.Open(b.TempDir(), rootfs.Owner{UID: os.Getuid(), GID: os.Getgid()})
	if err != nil {
		b.Skip(err)
	}
	defer root.Close()
	for _, n := range debian() {
		if err := root.MkdirAll(filepath.Dir(n.Path), 0o755); err != nil {
			b.Fatal(err)
		}
		if n.Type == "" {
			if err := root.WriteFile(n.Path, []byte(n.Content), rootfs.Attr{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	config := &container.Config{Hostname: new("ct1"), Net: map[int]container.Net{0: {Name: "eth0", IP: new("192.0.2.5/24")}}}
	env := setup.Env{Distributions: all.Distributions(), Resolver: "nameserver 192.0.2.1\n", Warnf: b.Logf, Printf: b.Logf}
	for b.Loop() {
		ct, err := setup.Open(root, config, env)
		if err != nil {
			b.Fatal(err)
		}
		if err := ct.PreStart(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// inodes returns the numbers of the files in etc.
func inodes(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	err := filepath.WalkDir(filepath.Join(dir, "etc"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all[path] = info.Sys().(*syscall.Stat_t).Ino
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// untar unpacks an archive of our own making.
func untar(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		case tar.TypeLink:
			err = os.Link(filepath.Join(dir, h.Linkname), path)
		case tar.TypeReg:
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, data, os.FileMode(h.Mode).Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
