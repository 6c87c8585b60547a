package qm

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
)

// A yard is a world with two storages, local and fast, and no VMs.
type yard struct {
	t        *testing.T
	root, qm string
	size     int // of the source, in bytes
}

func newYard(t *testing.T) *yard {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	root := testroot.New(t)
	y := &yard{t: t, root: root, qm: program(t), size: 5<<20 + 3*512}
	y.write("etc/pve/storage.cfg", "dir: local\n\tpath "+root+"/var/lib/vz\n\tcontent images,iso,import\n\n"+
		"dir: fast\n\tpath "+root+"/srv/fast\n\tcontent images\n\n")
	y.write("srv/fast/images/.keep", "")
	return y
}

func (y *yard) path(name string) string { return filepath.Join(y.root, name) }

func (y *yard) write(name, text string) {
	y.t.Helper()
	if err := os.MkdirAll(filepath.Dir(y.path(name)), 0o755); err != nil {
		y.t.Fatal(err)
	}
	if err := os.WriteFile(y.path(name), []byte(text), 0o640); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, y.qm, args...)
	c.Env = append(os.Environ(), "VIRTSMITH_ROOT="+y.root, "VIRTSMITH_NODE=pve1")
	return c
}

// try runs qm and returns what it printed and whether it succeeded.
func (y *yard) try(args ...string) (string, bool) {
	out, err := y.command(y.t.Context(), args...).CombinedOutput()
	return string(out), err == nil
}

// must runs qm, which has to succeed.
func (y *yard) must(args ...string) string {
	y.t.Helper()
	out, ok := y.try(args...)
	if !ok {
		y.t.Fatalf("qm %s: %s", strings.Join(args, " "), out)
	}
	return out
}

// refuses runs qm, which has to fail with a text, and to change nothing.
func (y *yard) refuses(text string, args ...string) {
	y.t.Helper()
	before := y.files()
	out, ok := y.try(args...)
	if ok || !strings.Contains(out, text) {
		y.t.Errorf("qm %s: %v, %s, want %q", strings.Join(args, " "), ok, out, text)
	}
	if diff := cmp.Diff(before, y.files()); diff != "" {
		y.t.Errorf("qm %s changed files (-before +after):\n%s", strings.Join(args, " "), diff)
	}
}

// files lists what can be left over: configurations with their text, and volumes.
func (y *yard) files() map[string]string {
	found := map[string]string{}
	_ = filepath.WalkDir(y.root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, y.root+"/")
		switch {
		case err != nil || !d.Type().IsRegular():
		case strings.HasPrefix(name, "etc/pve/"):
			text, _ := os.ReadFile(path)
			found[name] = string(text)
		case strings.Contains(name, "/images/"):
			found[name] = ""
		}
		return nil
	})
	return found
}

// option returns the value of an option of a VM.
func (y *yard) option(vmid, key string) string {
	y.t.Helper()
	for line := range strings.Lines(y.must("config", vmid)) {
		if value, ok := strings.CutPrefix(line, key+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// file returns the path of the volume of a drive of a VM.
func (y *yard) file(vmid, key string) string {
	y.t.Helper()
	volume, _, _ := strings.Cut(y.option(vmid, key), ",")
	storeid, name, _ := strings.Cut(volume, ":")
	parts := strings.Split(name, "/")
	name = strings.Join(parts[max(0, len(parts)-2):], "/")
	return y.path(map[string]string{"local": "var/lib/vz/images/", "fast": "srv/fast/images/"}[storeid] + name)
}

// image makes an image with data and holes. Its size is, where nothing else was set, no
// whole number of KiB.
func (y *yard) image(path, format string) {
	y.t.Helper()
	data := make([]byte, y.size)
	for i := range data {
		if block := i >> 16; block%3 == 0 || i > y.size-700 {
			data[i] = byte(i*7 + i>>8)
		}
	}
	raw := y.path("source.raw")
	if err := os.WriteFile(raw, data, 0o644); err != nil {
		y.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		y.t.Fatal(err)
	}
	command(y.t, "qemu-img", "convert", "-f", "raw", "-O", format, raw, path)
}

// same checks that an image holds what the source does, and no more room than need be.
// What the copy has beyond the source, a part of a KiB, is zero.
func (y *yard) same(path string) {
	y.t.Helper()
	command(y.t, "qemu-img", "compare", "-f", "raw", y.path("source.raw"), path)
	info, err := os.Stat(path)
	if err != nil {
		y.t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 4<<20 {
		y.t.Errorf("%s takes %d bytes: its holes are filled", path, used)
	}
}

// vm makes VM 100 with two disks that hold the source.
func (y *yard) vm() {
	y.t.Helper()
	y.write("etc/pve/nodes/pve1/qemu-server/100.conf", "boot: order=scsi0\nkvm: 0\nmemory: 64\nname: source\nnet0: virtio=BC:24:11:00:00:01\n"+
		"scsi0: local:100/vm-100-disk-0.raw\nscsihw: virtio-scsi-pci\nvirtio1: fast:100/vm-100-disk-0.qcow2\nvga: none\n")
	y.image(y.path("var/lib/vz/images/100/vm-100-disk-0.raw"), "raw")
	y.image(y.path("srv/fast/images/100/vm-100-disk-0.qcow2"), "qcow2")
	y.must("disk", "rescan", "--vmid", "100")
}

func TestDiskMove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, key, storage, format string }{
		{"raw to another storage", "scsi0", "fast", ""},
		{"raw to qcow2", "scsi0", "local", "qcow2"},
		{"qcow2 to raw", "virtio1", "local", "raw"},
		{"qcow2 to vmdk", "virtio1", "local", "vmdk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			y.vm()
			old := y.file("100", c.key)
			args := []string{"disk", "move", "100", c.key, c.storage, "--delete", "1"}
			if c.format != "" {
				args = append(args, "--format", c.format)
			}
			y.must(args...)
			y.same(y.file("100", c.key))
			if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the source is there still: %v", err)
			}
		})
	}
}

func TestDiskImport(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		y.image(y.path("import."+format), format)
		y.must("disk", "import", "100", y.path("import."+format), "fast", "--format", "qcow2", "--target-disk", "sata"+map[string]string{"raw": "0", "qcow2": "1", "vmdk": "2"}[format])
	}
	for _, key := range []string{"sata0", "sata1", "sata2"} {
		y.same(y.file("100", key))
	}
	y.refuses("cowardly refusing", "disk", "import", "100", y.path("import.raw"), "fast", "--target-disk", "scsi0")
	y.refuses("non-existent", "disk", "import", "100", y.path("gone.raw"), "fast")
}

func TestDiskCreateImport(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.must("create", "101", "--scsi0", "local:0,import-from=fast:100/vm-100-disk-0.qcow2", "--scsi1", "fast:0,import-from="+y.path("source.raw"))
	y.same(y.file("101", "scsi0"))
	y.same(y.file("101", "scsi1"))
	y.refuses("cannot import from", "create", "102", "--scsi0", "local:1", "--scsi1", "local:0,import-from=fast:100/none.raw")
}

// An image from outside must not bring files of the node into a guest.
func TestDiskImportUntrusted(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	secret, folder := y.path("secret.raw"), y.path("var/lib/vz/import")
	y.write("secret.raw", strings.Repeat("secret\n", 1<<14))
	y.write("var/lib/vz/import/flat.vmdk", "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\n"+
		"RW 128 FLAT \""+secret+"\" 0\n\nddb.adapterType = \"ide\"\nddb.geometry.cylinders = \"2\"\nddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", filepath.Join(folder, "backed.qcow2"))
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(folder, "data"), filepath.Join(folder, "data.qcow2"), "1M")
	for name, why := range map[string]string{"flat.vmdk": "extent", "backed.qcow2": "backing file", "data.qcow2": "data file"} {
		y.refuses(why, "create", "100", "--scsi0", "local:0,import-from=local:import/"+name)
	}
}

// start starts VM 100, whose guest finds nothing to boot.
func (y *yard) start() {
	y.t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		y.t.Skip("no qemu-system-x86_64 on this machine")
	}
	y.t.Cleanup(func() {
		dir := process.Below(y.root)
		if pid, err := dir.Running(100); err == nil && pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = dir.AwaitEnd(ctx, 100)
		}
	})
	y.must("start", "100")
}

func TestDiskMoveRunning(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.start()
	y.must("disk", "move", "100", "scsi0", "fast", "--delete", "1")
	y.must("disk", "move", "100", "virtio1", "local", "--format", "raw")
	y.must("disk", "move", "100", "virtio1", "fast")
	y.write("etc/pve/nodes/pve1/qemu-server/101.conf", "name: other\n")
	y.refuses("while the source VM is running", "disk", "move", "100", "scsi0", "--target-vmid", "101")
	y.must("stop", "100")
	y.same(y.file("100", "scsi0"))
	y.same(y.file("100", "virtio1"))
}

func TestDiskResizeRunning(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.start()
	y.must("disk", "resize", "100", "virtio1", "+3M")
	y.must("disk", "resize", "100", "scsi0", "9M")
	y.refuses("shrinking disks is not supported", "disk", "resize", "100", "scsi0", "1M")
	y.must("stop", "100")
	if size := command(t, "qemu-img", "info", y.file("100", "scsi0")); !strings.Contains(size, "9437184 bytes") {
		t.Errorf("scsi0: %s", size)
	}
	if got := y.option("100", "virtio1"); !strings.Contains(got, "size=8390144") {
		t.Errorf("virtio1: %s", got)
	}
}

func TestDiskReassign(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.write("etc/pve/nodes/pve1/qemu-server/101.conf", "name: other\n")
	y.must("disk", "move", "100", "virtio1", "--target-vmid", "101", "--target-disk", "scsi3")
	y.same(y.file("101", "scsi3"))
	y.refuses("is already in use", "disk", "move", "100", "scsi0", "--target-vmid", "101", "--target-disk", "scsi3")
	y.must("disk", "move", "101", "scsi3", "--target-vmid", "100", "--target-disk", "unused7")
	y.same(y.file("100", "unused7"))
}

func TestDiskRescan(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.image(y.path("srv/fast/images/100/vm-100-disk-5.raw"), "raw")
	out := y.must("disk", "rescan", "--dryrun", "1")
	if !strings.Contains(out, "add unreferenced volume 'fast:100/vm-100-disk-5.raw' as 'unused0'") || y.option("100", "unused0") != "" {
		t.Errorf("dry run: %s", out)
	}
	y.must("rescan")
	if got := y.option("100", "unused0"); got != "fast:100/vm-100-disk-5.raw" {
		t.Errorf("unused0: %q", got)
	}
}

// TestDiskFull copies to a storage that has no room for it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.size = 5 << 20 // in pages: the small file system lies in memory
	y.vm()
	small := y.path("small")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	cfg, _ := os.ReadFile(y.path("etc/pve/storage.cfg"))
	y.write("etc/pve/storage.cfg", string(cfg)+"dir: small\n\tpath "+small+"\n\tcontent images\n\n")
	y.must("config", "100")
	const why = "No space left on device"
	y.refuses(why, "clone", "100", "101", "--storage", "small")
	y.refuses(why, "disk", "move", "100", "scsi0", "small")
	y.refuses(why, "disk", "import", "100", y.path("source.raw"), "small")
	y.refuses(why, "create", "102", "--scsi0", "small:0,import-from="+y.path("source.raw"))
	y.start()
	y.refuses(why, "disk", "move", "100", "scsi0", "small")
	y.refuses(why, "clone", "100", "101", "--storage", "small")
	if left := slices.Collect(maps.Keys(under(small))); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	y.must("stop", "100")
	y.same(y.file("100", "scsi0"))
}

// under lists the plain files below a folder.
func under(dir string) map[string]bool {
	found := map[string]bool{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found[path] = true
		}
		return nil
	})
	return found
}

// TestDiskDryRun goes through commands that must touch nothing.
func TestDiskDryRun(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	for _, args := range [][]string{
		{"clone", "100", "101"},
		{"disk", "move", "100", "scsi0", "fast"},
		{"disk", "import", "100", y.path("source.raw"), "fast"},
		{"disk", "resize", "100", "scsi0", "+1G"},
		{"template", "100"},
		{"destroy", "100", "--purge"},
	} {
		before := y.files()
		out := y.must(append(args, "--dry-run")...)
		if out == "" || strings.Contains(out, "nothing would change") {
			t.Errorf("qm %s: %q", strings.Join(args, " "), out)
		}
		if diff := cmp.Diff(before, y.files()); diff != "" {
			t.Errorf("qm %s changed files:\n%s", strings.Join(args, " "), diff)
		}
	}
}

// lineOf waits until a command has printed a line with the text.
func lineOf(t *testing.T, out *output, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(out.String(), text) {
			return
		}
	}
	t.Fatalf("no %q in: %s", text, out)
}

// output is a buffer that may be read while it is written.
type output struct {
	ch  chan struct{}
	buf bytes.Buffer
}

func newOutput() *output { return &output{ch: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.ch <- struct{}{}
	defer func() { <-o.ch }()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.ch <- struct{}{}
	defer func() { <-o.ch }()
	return o.buf.String()
}
