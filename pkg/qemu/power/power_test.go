package power

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline/probe"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/systemd"
)

const vmid = id.VM(100)

// The test binary is also the supervisor of a QEMU, and a command that dies after a
// step of a start, when its environment says so.
func TestMain(m *testing.M) {
	root := os.Getenv("VIRTSMITH_TEST_WORLD")
	switch {
	case root == "":
		os.Exit(m.Run())
	case os.Getenv("VIRTSMITH_TEST_DIE") != "":
		os.Exit(dieAfter(newService(root)))
	}
	s := newService(root)
	err := process.Supervise(os.Stdin, os.NewFile(3, "report"), func(ctx context.Context, spec process.Spec, _ process.End) error {
		return s.Clear(ctx, spec.VM, spec.Generation)
	})
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// newService is a node whose files are below root.
func newService(root string) *Service {
	client := cluster.New(root, "pve1")
	runner := run.Host{}
	host := &vm.Host{
		Root: root, Node: "pve1", Cluster: client, Run: runner, Dir: process.Below(root), Now: time.Now,
		UUID: func() string { return fmt.Sprint(time.Now().UnixNano()) },
		Storage: storage.New(storage.Options{
			Root: root, Node: "pve1", Runner: runner, Types: []storage.Type{dir.Type()}, QEMUImg: "qemu-img",
			Config: func(context.Context) (string, error) { return "", nil },
		}),
		Launcher: process.Launcher{Argv: []string{os.Args[0]}, Env: append(os.Environ(), "VIRTSMITH_TEST_WORLD="+root, "VIRTSMITH_TEST_DIE=")},
	}
	prober := &probe.Prober{Runner: runner, Cache: filepath.Join(root, "var/cache"), Look: run.Host{}.Look}
	return &Service{
		Host: host, QEMU: prober.QEMU,
		Net:    func() (Net, error) { return link.Open() },
		Groups: func() (*cgroup.Tree, error) { return cgroup.Open("/sys/fs/cgroup", "/proc") },
		ApplyPending: func(_ context.Context, _ id.VM, doc *config.Doc) error {
			doc.Values, doc.Pending = guest.Merged(doc), nil
			return nil
		},
	}
}

// A world is a node with one VM.
type world struct {
	*Service
	t   testing.TB
	ctx context.Context
	out bytes.Buffer
}

// newWorld makes a node with VM 100 of the given configuration, which ends with the
// test.
func newWorld(t testing.TB, conf string) *world {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no qemu-system-x86_64 on this machine")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: control groups, network devices")
	}
	root := testroot.New(t)
	w := &world{Service: newService(root), t: t}
	w.ctx = api.WithStreams(context.WithoutCancel(t.Context()), api.Streams{Out: &w.out, Err: &w.out})
	t.Cleanup(func() {
		if err := errors.Join(w.end(w.ctx, vmid), w.Clear(w.ctx, vmid, "")); err != nil {
			t.Error(err)
		}
		w.isClean()
	})
	if err := w.Cluster.Init(); err != nil {
		t.Fatal(err)
	}
	w.configure(vmid, conf)
	return w
}

func (w *world) configure(vm id.VM, conf string) {
	w.t.Helper()
	if err := w.Cluster.WriteGuest(w.ctx, cluster.VM, vm, []byte(conf)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) config() string {
	w.t.Helper()
	text, err := w.Cluster.ReadGuest(w.ctx, cluster.VM, vmid)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *world) start() {
	w.t.Helper()
	if err := w.Start(w.ctx, vmid, StartOptions{}); err != nil {
		w.t.Fatalf("start: %v\n%s", err, w.out.String())
	}
}

// isClean sees that nothing of a VM is left.
func (w *world) isClean() {
	w.t.Helper()
	if running, err := w.Running(vmid); running || err != nil {
		w.t.Errorf("runs: %v, %v", running, err)
	}
	if left, err := w.Dir.Leftovers(vmid); len(left) > 0 || err != nil {
		w.t.Errorf("left: %v, %v", left, err)
	}
	if tree, err := w.Groups(); err == nil {
		for _, dir := range tree.Group(w.groupPath(vmid)).Dirs() {
			if _, err := os.Stat(dir); err == nil {
				w.t.Errorf("control group left: %s", dir)
			}
		}
	}
	if _, err := net.InterfaceByName("tap100i0"); err == nil {
		w.t.Error("tap100i0 is left")
	}
}

// gone waits until the VM has ended and is cleared up after.
func (w *world) gone() {
	w.t.Helper()
	w.await(20*time.Second, "the VM ends", func() bool {
		left, err := w.Dir.Leftovers(vmid)
		running, err2 := w.Running(vmid)
		return err == nil && err2 == nil && !running && len(left) == 0
	})
	w.isClean()
}

func (w *world) await(patience time.Duration, what string, there func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !there(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain: %s\n%s", what, w.out.String())
		}
	}
}

func (w *world) status() string {
	w.t.Helper()
	state, err := w.Status(w.ctx, vmid)
	if err != nil {
		w.t.Fatal(err)
	}
	return state
}

// disk gives the VM a copy of the disk of the test guest.
func (w *world) disk() {
	w.t.Helper()
	to := filepath.Join(w.Root, "var/lib/vz/images/100/vm-100-disk-0.raw")
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		w.t.Fatal(err)
	}
	from := filepath.Join(testguest.Dir(w.t), "guest.raw")
	if err := w.Run.Run(w.ctx, run.Command("cp", "--sparse=always", from, to)); err != nil {
		w.t.Fatal(err)
	}
}

// bootPatience is how long the test guest may take, on a machine that is busy.
const bootPatience = 90 * time.Second

// booted waits until the agent in the guest answers.
func (w *world) booted(vm id.VM) {
	w.t.Helper()
	w.await(bootPatience, "the guest answers", func() bool {
		_, err := w.AskAgent(w.ctx, vm, "ping")
		return err == nil
	})
}

// inGuest runs a shell command in the guest.
func (w *world) inGuest(vm id.VM, command string) string {
	w.t.Helper()
	_, exit, err := w.Exec(w.ctx, vm, []string{"sh", "-c", command}, nil, 30*time.Second)
	if err != nil || exit.Code == nil || *exit.Code != 0 {
		w.t.Fatalf("%s: %+v, %v", command, exit, err)
	}
	return strings.TrimSpace(string(exit.Out))
}

// small is a VM that boots nothing.
const small = "memory: 32\nscsihw: virtio-scsi-pci\nvga: none\n"

// guestConf is a VM that boots the test guest, network card included.
const guestConf = `agent: 1
boot: order=virtio0
cpu: qemu64
memory: 256
net0: virtio=BC:24:11:00:00:01
serial0: socket
vga: serial0
virtio0: local:100/vm-100-disk-0.raw
`

func TestStartStop(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	if got := w.status(); got != "running" {
		t.Errorf("status %s", got)
	}
	if err := w.Start(w.ctx, vmid, StartOptions{}); err == nil || err.Error() != "VM 100 already running" {
		t.Errorf("second start: %v", err)
	}
	if got := w.status(); got != "running" {
		t.Errorf("after a second start: %s", got)
	}
	if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
	w.isClean()
	if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
		t.Errorf("stop of what has stopped: %v", err)
	}
}

func TestPause(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return w.Pause(w.ctx, vmid, false) }, "paused"},
		{func() error { return w.Resume(w.ctx, vmid, false) }, "running"},
		{func() error { return w.Resume(w.ctx, vmid, false) }, "running"},
		{func() error { return w.Reset(w.ctx, vmid, false) }, "running"},
		{func() error { return w.SendKey(w.ctx, vmid, "ctrl-alt-delete") }, "running"},
	} {
		if err := step.do(); err != nil {
			t.Error(err)
		}
		if got := w.status(); got != step.want {
			t.Errorf("status %s, want %s", got, step.want)
		}
	}
	if err := w.SendKey(w.ctx, vmid, "nokey"); err == nil || !strings.Contains(err.Error(), "invalid parameter: nokey") {
		t.Errorf("no such key: %v", err)
	}
	if err := w.Wait(w.ctx, vmid, 10*time.Millisecond); err == nil || err.Error() != "wait failed - got timeout" {
		t.Errorf("wait: %v", err)
	}
}

// Two commands at once: one waits for the other.
func TestStartTwice(t *testing.T) {
	w := newWorld(t, small)
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			results <- w.Start(api.WithStreams(w.ctx, api.Streams{Out: io.Discard, Err: io.Discard}), vmid, StartOptions{})
		}()
	}
	started := 0
	for range cap(results) {
		switch err := <-results; {
		case err == nil:
			started++
		case err.Error() != "VM 100 already running":
			t.Error(err)
		}
	}
	if started != 1 {
		t.Errorf("%d commands have started it", started)
	}
}

func TestLockNamesHolder(t *testing.T) {
	w := newWorld(t, small)
	err := w.Locked(w.ctx, vmid, "a long rest", func(context.Context) error {
		return w.Stop(w.ctx, vmid, StopOptions{})
	})
	timeout, ok := errors.AsType[*file.LockTimeout](err)
	if !ok || !strings.Contains(timeout.Error(), "a long rest") {
		t.Errorf("got %v", err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ name, conf, want string }{
		{"template", small + "template: 1\n", "you can't start a vm if it's a template"},
		{"locked", small + "lock: backup\n", "VM is locked (backup)"},
		{"missing bridge", small + "net0: virtio=BC:24:11:00:00:01,bridge=vmbr4711\n", "netdev net0: bridge 'vmbr4711' does not exist"},
		{"missing volume", small + "scsi0: local:100/vm-100-disk-7.raw\n", "volume 'local:100/vm-100-disk-7.raw' does not exist"},
		{"new machine", small + "machine: pc-i440fx-99.0\n", "is too old to run machine type"},
		{"refused by QEMU", small + "args: -device nonsense\n", "'nonsense' is not a valid device model name"},
		{"dead after a while", small + "args: -incoming exec:false\n", "start failed: QEMU ended while starting"},
		{"suspended without state", small + "lock: suspended\n", "its state is not noted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.conf)
			err := w.Start(w.ctx, vmid, StartOptions{})
			if err == nil && c.name == "dead after a while" {
				t.Skip("this QEMU answers before it dies")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			w.isClean()
			if got := w.config(); got != c.conf {
				t.Errorf("configuration is now %s", got)
			}
		})
	}
}

func TestNoQEMU(t *testing.T) {
	w := newWorld(t, small)
	w.QEMU = (&probe.Prober{Runner: w.Run, Look: func(name string) (string, error) { return "", exec.ErrNotFound }}).QEMU
	if err := w.Start(w.ctx, vmid, StartOptions{}); !errors.Is(err, probe.ErrMissing) {
		t.Errorf("got %v", err)
	}
	w.isClean()
}

// A state that could not be saved is gone, and the VM runs on.
func TestSuspendFails(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	before := w.config()
	for _, c := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"no such storage", func(ctx context.Context) error {
			return w.Suspend(ctx, vmid, SuspendOptions{Storage: "nowhere"})
		}},
		{"interrupted", func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() { done <- w.Suspend(ctx, vmid, SuspendOptions{}) }()
			w.await(10*time.Second, "the VM is suspending", func() bool { return strings.Contains(w.config(), "lock: suspending") || len(done) > 0 })
			cancel()
			return <-done
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(w.ctx); err == nil {
				t.Skip("it was too quick")
			}
			if got := w.config(); got != before {
				t.Errorf("configuration is now %s", got)
			}
			if left, _ := filepath.Glob(filepath.Join(w.Root, "var/lib/vz/images/100/*state*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if got := w.status(); got != "running" {
				t.Errorf("status %s", got)
			}
		})
	}
}

// A state that the lock does not speak of any more is not gone on from.
func TestStaleState(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	if err := w.Suspend(w.ctx, vmid, SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Unlock(w.ctx, vmid); err != nil {
		t.Fatal(err)
	}
	w.start()
	if got := w.config(); got != small {
		t.Errorf("configuration is now %s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(w.Root, "var/lib/vz/images/100/*state*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]struct {
		key  byte
		name string
	}{"^O": {15, "Ctrl+O"}, "^]": {29, "Ctrl+]"}, "^a": {1, "Ctrl+A"}, "~": {'~', "~"}, "none": {}} {
		if key, name, err := Escape(text); key != want.key || name != want.name || err != nil {
			t.Errorf("%s: %d %s %v", text, key, name, err)
		}
	}
	for _, text := range []string{"", "^", "^^^", "ctrl-o"} {
		if key, _, err := Escape(text); err == nil && text != "^" {
			t.Errorf("%q is taken as %d", text, key)
		}
	}
}

// fakeScopes notes what is asked of systemd.
type fakeScopes struct{ calls []string }

func (f *fakeScopes) Gone(_ context.Context, name string) error {
	f.calls = append(f.calls, "gone "+name)
	return nil
}

func (f *fakeScopes) StartScope(_ context.Context, s systemd.Scope) error {
	f.calls = append(f.calls, fmt.Sprintf("start %s in %s with %v cpus, running: %v", s.Name, s.Slice, s.Limits.CPUs, syscall.Kill(s.PID, 0) == nil))
	return nil
}

func (f *fakeScopes) Limit(_ context.Context, name string, l systemd.Limits) error {
	f.calls = append(f.calls, fmt.Sprintf("limit %s to %v cpus", name, l.CPUs))
	return nil
}

func (f *fakeScopes) Close() {}

// Where systemd owns the control groups, QEMU gets a scope.
func TestScope(t *testing.T) {
	w := newWorld(t, small+"cpulimit: 1.5\n")
	fake := &fakeScopes{}
	w.Scopes = func(context.Context) (Scopes, error) { return fake, nil }
	w.start()
	if err := w.Limit(w.ctx, vmid, &qemu.Config{}); err != nil {
		t.Error(err)
	}
	want := []string{"gone 100.scope", "start 100.scope in qemu.slice with 1.5 cpus, running: true", "limit 100.scope to 0 cpus"}
	if diff := cmp.Diff(want, fake.calls); diff != "" {
		t.Error(diff)
	}
}

func TestForcedMachine(t *testing.T) {
	w := newWorld(t, small)
	if err := w.Start(w.ctx, vmid, StartOptions{Machine: "q35"}); err != nil {
		t.Fatal(err)
	}
	machine, _, err := w.Hardware(w.ctx, vmid)
	if err != nil || !strings.HasPrefix(machine, "pc-q35-") {
		t.Errorf("machine %s, %v", machine, err)
	}
}
