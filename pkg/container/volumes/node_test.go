package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// moving is set in the process that a test kills while it moves a volume.
const moving = "VIRTSMITH_TEST_MOVE"

func TestMain(m *testing.M) {
	root := os.Getenv(moving)
	if root == "" {
		os.Exit(m.Run())
	}
	ctx := api.WithStreams(context.Background(), api.Streams{Out: os.Stdout, Err: os.Stderr})
	err := service(root, run.Host{}).Move(ctx, Move{VM: 100, Key: "rootfs", Storage: "other", BWLimit: new(512)})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// service is a service on the node whose files are below root.
func service(root string, runner run.Runner) *Service {
	c := cluster.New(root, "pve1")
	return &Service{&ct.Host{
		Root: root, Node: "pve1", Cluster: c, Run: runner, Now: time.Now,
		Storage: storage.New(storage.Options{
			Root: root, Node: "pve1", Runner: runner, Types: []storage.Type{dir.Type(), btrfs.Type()},
			Config: func(context.Context) (string, error) {
				text, err := os.ReadFile(filepath.Join(root, "etc/pve/storage.cfg"))
				return string(text), err
			},
			Guests: func(context.Context) (map[id.VM]string, error) { return map[id.VM]string{100: "lxc", 101: "lxc"}, nil },
		}),
		Active: func(context.Context) (map[string]bool, error) {
			_, err := os.Stat(filepath.Join(root, "runs"))
			return map[string]bool{"100": err == nil}, nil
		},
	}}
}

// A node is a node with containers 100 and 101, whose volumes are on the storage local, or
// other, or on one that a test adds.
type node struct {
	*Service
	t    *testing.T
	root string
	out  *bytes.Buffer
	ctx  context.Context //nolint:containedctx // that of the test, with its streams
}

func newNode(t *testing.T) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	for _, program := range []string{"mkfs.ext4", "qemu-img"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	t.Parallel() // checks of file systems that no two hosts may mount mostly wait
	n := &node{t: t, root: testroot.New(t), out: new(bytes.Buffer)}
	n.Service = service(n.root, run.Host{})
	n.ctx = api.WithStreams(t.Context(), api.Streams{Out: n.out, Err: n.out})
	n.must(os.MkdirAll(filepath.Join(n.root, "etc/pve/nodes/pve1/lxc"), 0o755))
	n.must(os.MkdirAll(filepath.Join(n.root, "run"), 0o755))
	n.addStorage("dir", "local", filepath.Join(n.root, "local"))
	n.addStorage("dir", "other", filepath.Join(n.root, "other"))
	n.write(100, "arch: amd64\nhostname: one\nunprivileged: 1\n")
	n.write(101, "arch: amd64\nhostname: two\nunprivileged: 1\n")
	return n
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%v\n%s", err, n.out)
	}
}

func (n *node) addStorage(kind, name, path string) {
	n.t.Helper()
	n.must(os.MkdirAll(path, 0o755))
	f, err := os.OpenFile(filepath.Join(n.root, "etc/pve/storage.cfg"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	n.must(err)
	_, err = fmt.Fprintf(f, "%s: %s\n\tpath %s\n\tcontent images,rootdir\n\n", kind, name, path)
	n.must(errors.Join(err, f.Close()))
}

func (n *node) write(vmid id.VM, text string) {
	n.t.Helper()
	n.must(n.Cluster.WriteGuest(n.ctx, cluster.Container, vmid, []byte(text)))
}

func (n *node) values(vmid id.VM) schema.Params {
	n.t.Helper()
	doc, err := n.Load(n.ctx, vmid)
	n.must(err)
	return doc.Values
}

// give makes a mount point of container 100 and plants a tree on it.
func (n *node) give(key, value string) {
	n.t.Helper()
	undo := revert.New(n.ctx, func(err error) { n.t.Error(err) })
	made, err := n.Make(n.ctx, 100, schema.Params{key: value}, n.values(100), undo)
	n.must(err)
	undo.Success()
	n.must(n.Change(n.ctx, 100, "test", func(_ context.Context, doc *config.Doc) error {
		doc.Values[key] = made[key]
		return nil
	}))
	n.inside(made[key], func(at string) { plant(n.t, at) })
}

// inside calls fn with a folder in which the volume of a mount point is.
func (n *node) inside(value string, fn func(at string)) {
	n.t.Helper()
	v, err := id.ParseVolume(strings.Split(value, ",")[0])
	n.must(err)
	view, err := n.open(n.ctx, v, "", false)
	n.must(err)
	defer view.Close()
	fn(fmt.Sprintf("/proc/self/fd/%d/.", view.Root.Fd()))
}

func (n *node) describe(value string) (found map[string]string) {
	n.t.Helper()
	n.inside(value, func(at string) { found = describe(n.t, at) })
	return found
}

// images lists the volumes below the storages' folders.
func (n *node) images() []string {
	n.t.Helper()
	all, err := filepath.Glob(filepath.Join(n.root, "*/images/*/*"))
	n.must(err)
	for i := range all {
		all[i] = strings.TrimPrefix(all[i], n.root+"/")
	}
	return all
}

// clean fails the test where something is left mounted or attached.
func (n *node) clean() {
	n.t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	n.must(err)
	if strings.Contains(string(text), n.root) {
		n.t.Errorf("left mounted: %s", text)
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	n.must(err)
	for _, file := range loops {
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), n.root) {
			n.t.Errorf("left attached: %s", text)
		}
	}
}

func same(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("%s:\n had %s\n has %s", name, want[name], got[name])
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("%s was not there", name)
		}
	}
}

// TestMoveAround moves a volume from an image to a subvolume of btrfs and back, and to a
// folder.
func TestMoveAround(t *testing.T) {
	n := newNode(t)
	n.addStorage("btrfs", "tree", filepath.Join(storagetest.Loop(t, 512, "mkfs.btrfs", "-q"), "s"))
	n.give("rootfs", "local:0.1")
	n.give("mp0", "tree:0,mp=/data,backup=1")
	want := map[string]map[string]string{}
	for _, key := range []string{"rootfs", "mp0"} {
		want[key] = n.describe(n.values(100)[key])
	}
	for _, step := range []struct{ key, storage, volume string }{
		{"rootfs", "tree", "tree:100/vm-100-disk-1.raw"},
		{"rootfs", "other", "other:100/vm-100-disk-0.raw"},
		{"mp0", "local", "local:100/subvol-100-disk-0.subvol"},
		{"mp0", "tree", "tree:100/subvol-100-disk-0.subvol"},
	} {
		if err := n.Move(n.ctx, Move{VM: 100, Key: step.key, Storage: id.Storage(step.storage), Delete: true}); err != nil {
			t.Fatalf("%s to %s: %v\n%s", step.key, step.storage, err, n.out)
		}
		values := n.values(100)
		if !strings.HasPrefix(values[step.key], step.volume+",") {
			t.Errorf("%s is on %s", step.key, values[step.key])
		}
		if values["lock"] != "" || values["unused0"] != "" {
			t.Errorf("left: %q", values)
		}
		same(t, want[step.key], n.describe(values[step.key]))
	}
	if left := n.images(); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
	n.clean()
}

// TestMoveKept keeps the source, as an unused volume.
func TestMoveKept(t *testing.T) {
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	n.must(n.Move(n.ctx, Move{VM: 100, Key: "rootfs", Storage: "local"}))
	values := n.values(100)
	if values["rootfs"] != "local:100/vm-100-disk-1.raw,size=102M" || values["unused0"] != "local:100/vm-100-disk-0.raw" {
		t.Errorf("%q", values)
	}
	same(t, n.describe(values["unused0"]), n.describe(values["rootfs"]))
	n.clean()
}

// TestMoveKilled kills a move in the middle: the container has what it had, and what is left
// is noted.
func TestMoveKilled(t *testing.T) {
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	n.inside(n.values(100)["rootfs"], func(at string) {
		n.must(os.WriteFile(filepath.Join(at, "big"), bytes.Repeat([]byte("big one"), 1<<20), 0o644))
	})
	before := n.values(100)["rootfs"]
	want := n.describe(before)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), moving+"="+n.root)
	n.must(cmd.Start())
	noted := func() bool { return n.values(100)["unused0"] != "" }
	for deadline := time.Now().Add(30 * time.Second); !noted() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // in the middle of the data
	n.must(cmd.Process.Kill())
	_ = cmd.Wait()
	values := n.values(100)
	if values["lock"] != "disk" || values["rootfs"] != before || values["unused0"] != "other:100/vm-100-disk-0.raw" {
		t.Errorf("%q", values)
	}
	n.clean()
	same(t, want, n.describe(before))
	err := n.Move(n.ctx, Move{VM: 100, Key: "rootfs", Storage: "other"})
	if err == nil || err.Error() != "CT is locked (disk)" {
		t.Errorf("a second try: %v", err)
	}
	n.must(n.unlock(n.ctx, 100, "disk", nil))
	n.must(n.Move(n.ctx, Move{VM: 100, Key: "rootfs", Storage: "other", Delete: true}))
	same(t, want, n.describe(n.values(100)["rootfs"]))
}

// TestMoveFull moves to storages that have no room: one that shows it at once, and one that
// shows it when the image with holes is written to.
func TestMoveFull(t *testing.T) {
	n := newNode(t)
	n.addStorage("dir", "small", filepath.Join(storagetest.Loop(t, 16, "mkfs.ext4", "-q", "-m", "0"), "s"))
	n.give("rootfs", "local:0.1")
	n.inside(n.values(100)["rootfs"], func(at string) {
		data := make([]byte, 24<<20)
		for i := range data {
			data[i] = byte(i>>3 ^ i>>11)
		}
		n.must(os.WriteFile(filepath.Join(at, "big"), data, 0o644))
	})
	want := n.describe(n.values(100)["rootfs"])
	err := n.Move(n.ctx, Move{VM: 100, Key: "rootfs", Storage: "small", Delete: true})
	if err == nil || !strings.Contains(err.Error(), "storage 'small' is full") && !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v\n%s", err, n.out)
	}
	values := n.values(100)
	if values["lock"] != "" || values["unused0"] != "" || !strings.HasPrefix(values["rootfs"], "local:") {
		t.Errorf("%q", values)
	}
	if left, _ := filepath.Glob(filepath.Join(n.root, "small/images/*/*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	same(t, want, n.describe(values["rootfs"]))
	n.clean()
}

// TestResize grows a volume that nobody has open, and one that is mounted.
func TestResize(t *testing.T) {
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	want := n.describe(n.values(100)["rootfs"])
	n.must(n.Resize(n.ctx, Resize{VM: 100, Key: "rootfs", Size: "200M"}))
	if got := n.values(100)["rootfs"]; got != "local:100/vm-100-disk-0.raw,size=200M" {
		t.Errorf("%s", got)
	}
	same(t, want, n.describe(n.values(100)["rootfs"]))

	v := id.Volume{Storage: "local", Name: "100/vm-100-disk-0.raw"}
	view, err := n.open(n.ctx, v, "", false)
	n.must(err)
	defer view.Close()
	n.must(os.WriteFile(filepath.Join(n.root, "runs"), nil, 0o644))
	total := func() uint64 {
		var fs unix.Statfs_t
		n.must(unix.Fstatfs(int(view.Root.Fd()), &fs))
		return fs.Blocks * uint64(fs.Bsize)
	}
	before := total()
	if lack := mayGrowMounted(); lack != nil {
		t.Log(lack)
		err := n.Resize(n.ctx, Resize{VM: 100, Key: "rootfs", Size: "+200M"})
		if err == nil || err.Error() != lack.Error() || n.values(100)["rootfs"] != "local:100/vm-100-disk-0.raw,size=200M" {
			t.Errorf("%v", err)
		}
	} else {
		n.must(n.Resize(n.ctx, Resize{VM: 100, Key: "rootfs", Size: "+200M"}))
		if got := n.values(100)["rootfs"]; got != "local:100/vm-100-disk-0.raw,size=400M" || total() < before+150<<20 {
			t.Errorf("%s: grew from %d to %d", got, before, total())
		}
	}
	usage, err := n.Usage(n.ctx, 100)
	n.must(err)
	if len(usage) != 1 || usage[0].Total != total() || usage[0].Used == 0 {
		t.Errorf("%+v", usage)
	}
	if err := n.Trim(n.ctx, 100, false); err != nil && !strings.Contains(err.Error(), "not supported") {
		t.Error(err)
	}
	for _, bad := range []struct{ size, text string }{
		{"100M", "unable to shrink disk size"}, {"+0", "disk is already at specified size"},
	} {
		if err := n.Resize(n.ctx, Resize{VM: 100, Key: "rootfs", Size: bad.size}); err == nil || err.Error() != bad.text {
			t.Errorf("%s: %v", bad.size, err)
		}
	}
	if err := n.Move(n.ctx, Move{VM: 100, Key: "rootfs", Storage: "other"}); err == nil || err.Error() != "cannot move volumes of a running container" {
		t.Error(err)
	}
	if err := n.Service.Check(n.ctx, 100, "rootfs", true); err == nil || err.Error() != "cannot run fsck when container is running" {
		t.Error(err)
	}
	view.Close()
	n.must(os.Remove(filepath.Join(n.root, "runs")))
	n.clean()
}

// TestCheck repairs a file system.
func TestCheck(t *testing.T) {
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	want := n.describe(n.values(100)["rootfs"])
	image := filepath.Join(n.root, "local/images/100/vm-100-disk-0.raw")
	out, err := exec.CommandContext(t.Context(), "debugfs", "-w", "-R", "ssv free_blocks_count 5", image).CombinedOutput()
	if err != nil {
		t.Skipf("debugfs: %v\n%s", err, out)
	}
	n.out.Reset()
	if err := n.Service.Check(n.ctx, 100, "rootfs", true); err != nil {
		t.Errorf("%v\n%s", err, n.out)
	}
	if !strings.Contains(n.out.String(), "were corrected") {
		t.Errorf("%s", n.out)
	}
	same(t, want, n.describe(n.values(100)["rootfs"]))
	if err := n.Service.Check(n.ctx, 100, "mp1", true); err == nil || err.Error() != "cannot run command on non-existing mount point mp1" {
		t.Error(err)
	}
	n.clean()
}

// TestMount mounts a container on the host and unmounts it.
func TestMount(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_NO_MOUNTS") != "" {
		t.Skip("no mounts are wanted on this host")
	}
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	n.give("mp0", "other:0,mp=/data/deep")
	n.out.Reset()
	n.must(n.Mount(n.ctx, 100))
	t.Cleanup(func() { _ = mount.Host{}.UnmountTree(context.Background(), n.RootDir(100)) })
	if got := n.out.String(); got != "mounted CT 100 in '"+n.RootDir(100)+"'\n" {
		t.Error(got)
	}
	if n.values(100)["lock"] != "mounted" {
		t.Error("it is not locked")
	}
	for _, name := range []string{"etc/shadow", "data/deep/etc/shadow"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(n.RootDir(100), name), &st); err != nil || st.Uid != 100000 || st.Gid != 100042 {
			t.Errorf("%s: %v, %+v", name, err, st)
		}
	}
	if err := n.Mount(n.ctx, 100); err == nil || err.Error() != "CT is locked (mounted)" {
		t.Error(err)
	}
	if err := n.Service.Check(n.ctx, 100, "rootfs", false); err == nil || !strings.Contains(err.Error(), "is in use as /dev/loop") {
		t.Error(err)
	}
	usage, err := n.Usage(n.ctx, 100)
	if err != nil || len(usage) != 2 {
		t.Errorf("%v, %v", usage, err)
	}
	n.must(n.Unmount(n.ctx, 100))
	if lock := n.values(100)["lock"]; lock != "" {
		t.Errorf("locked: %s", lock)
	}
	n.clean()
}

// TestMakeFails leaves nothing behind.
func TestMakeFails(t *testing.T) {
	n := newNode(t)
	undo := revert.New(n.ctx, func(err error) { t.Error(err) })
	_, err := n.Make(n.ctx, 100, schema.Params{"rootfs": "local:0.1", "mp0": "nosuch:1,mp=/x"}, n.values(100), undo)
	if err == nil || err.Error() != "storage 'nosuch' does not exist" {
		t.Error(err)
	}
	if left := n.images(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	n.Run = withoutMkfs{}
	_, err = n.Make(n.ctx, 100, schema.Params{"rootfs": "local:0.1"}, n.values(100), undo)
	if err == nil || !strings.Contains(err.Error(), "there is no mkfs.ext4 here") {
		t.Error(err)
	}
	if left := n.images(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// withoutMkfs is a host where programs are missing.
type withoutMkfs struct{}

func (withoutMkfs) Run(_ context.Context, c run.Cmd) error {
	return &run.Error{Cmd: c, ExitCode: -1, Err: exec.ErrNotFound}
}

// TestTwoAtOnce moves a volume twice at once: one wins, and nothing is lost.
func TestTwoAtOnce(t *testing.T) {
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	want := n.describe(n.values(100)["rootfs"])
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			ctx := api.WithStreams(t.Context(), api.Streams{Out: new(bytes.Buffer), Err: new(bytes.Buffer)})
			errs[i] = n.Move(ctx, Move{VM: 100, Key: "rootfs", Storage: "other", Delete: true})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && err.Error() != "CT is locked (disk)" {
			t.Error(err)
		}
	}
	if !slices.Contains(errs, nil) {
		t.Error("none did it")
	}
	values := n.values(100)
	if values["lock"] != "" || !strings.HasPrefix(values["rootfs"], "other:") {
		t.Errorf("%q", values)
	}
	same(t, want, n.describe(values["rootfs"]))
	if left := n.images(); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// TestCloneAndTemplate clones a container fully, makes a template of it and links to that.
func TestCloneAndTemplate(t *testing.T) {
	n := newNode(t)
	n.addStorage("btrfs", "tree", filepath.Join(storagetest.Loop(t, 512, "mkfs.btrfs", "-q"), "s"))
	n.give("rootfs", "tree:0.1")
	want := n.describe(n.values(100)["rootfs"])
	clone := func(vmid id.VM, full bool) string {
		undo := revert.New(n.ctx, func(err error) { t.Error(err) })
		made, err := n.Clone(n.ctx, Clone{From: n.values(100), To: vmid, Values: n.values(101), Full: full}, undo)
		n.must(err)
		undo.Success()
		return made["rootfs"]
	}
	full := clone(101, true)
	same(t, want, n.describe(full))
	n.must(n.Template(n.ctx, 100))
	values := n.values(100)
	if values["template"] != "1" || values["rootfs"] != "tree:100/base-100-disk-0.raw,size=102M" {
		t.Errorf("%q", values)
	}
	linked := clone(101, false)
	same(t, want, n.describe(linked))
	same(t, want, n.describe(clone(101, true)))
	n.must(n.Move(n.ctx, Move{VM: 100, Key: "rootfs", Storage: "local"}))
	if values := n.values(100); values["rootfs"] != "local:100/base-100-disk-0.raw,size=102M" || values["unused0"] != "tree:100/base-100-disk-0.raw" || values["unused1"] != "" {
		t.Errorf("%q", values)
	}
	same(t, want, n.describe(n.values(100)["rootfs"]))
	if err := n.Resize(n.ctx, Resize{VM: 100, Key: "rootfs", Size: "+1G"}); err == nil || !strings.Contains(err.Error(), "can't resize base volume") {
		t.Error(err)
	}
	doc, err := n.Load(n.ctx, 100)
	n.must(err)
	n.must(n.Remove(n.ctx, 100, doc, true))
	if left, _ := filepath.Glob(filepath.Join(n.root, "*/images/100/*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	n.clean()
}

// TestRescan finds what nobody names, and sizes that have changed.
func TestRescan(t *testing.T) {
	n := newNode(t)
	n.give("rootfs", "local:0.1")
	n.give("mp0", "local:0.1,mp=/data")
	n.must(n.Change(n.ctx, 100, "test", func(_ context.Context, doc *config.Doc) error {
		delete(doc.Values, "mp0")
		doc.Values["rootfs"] = "local:100/vm-100-disk-0.raw,size=4G"
		return nil
	}))
	n.out.Reset()
	n.must(n.Rescan(n.ctx, 0, true))
	if n.values(100)["unused0"] != "" {
		t.Error("a dry run writes")
	}
	n.must(n.Rescan(n.ctx, 0, false))
	said := "rescan volumes...\nCT 100: add unreferenced volume 'local:100/vm-100-disk-1.raw' as 'unused0' to config.\nCT 100: updated volume size of 'local:100/vm-100-disk-0.raw' in config.\n"
	if got := n.out.String(); got != "NOTE: running in dry-run mode, won't write changes out!\n"+said+said {
		t.Errorf("%s", got)
	}
	if values := n.values(100); values["unused0"] != "local:100/vm-100-disk-1.raw" || values["rootfs"] != "local:100/vm-100-disk-0.raw,size=102M" {
		t.Errorf("%q", values)
	}
}
