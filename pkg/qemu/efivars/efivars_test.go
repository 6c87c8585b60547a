package efivars

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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/ovmf"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

const (
	vmid  = id.VM(100)
	fresh = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
)

// A world is a node with VM 100 and its EFI disk.
type world struct {
	*vm.Host
	t    *testing.T
	ctx  context.Context
	out  bytes.Buffer
	disk string
}

// newWorld makes an EFI disk of the given format, and the VM with the given options
// for it.
func newWorld(t *testing.T, format, options string) *world {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Skipf("needs the package ovmf: %v", err)
	}
	root := t.TempDir()
	runner := run.Host{}
	w := &world{t: t, disk: filepath.Join(root, "var/lib/vz/images/100/vm-100-disk-0."+format)}
	w.Host = &vm.Host{
		Root: root, Node: "pve1", Cluster: cluster.New(root, "pve1"), Run: runner, Dir: process.Below(root), Now: time.Now,
		Storage: storage.New(storage.Options{
			Root: root, Node: "pve1", Runner: runner, Types: []storage.Type{dir.Type()}, QEMUImg: "qemu-img",
			Config: func(context.Context) (string, error) { return "", nil },
		}),
	}
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: &w.out, Err: &w.out})
	if err := w.Cluster.Init(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(w.disk), 0o755); err != nil {
		t.Fatal(err)
	}
	w.image("convert", "-f", "raw", "-O", format, fresh, w.disk)
	conf := fmt.Sprintf("bios: ovmf\nefidisk0: local:100/vm-100-disk-0.%s%s\nname: a\n", format, options)
	if err := w.Cluster.WriteGuest(w.ctx, cluster.VM, vmid, []byte(conf)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) image(args ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

// content is what the guest would see on the EFI disk.
func (w *world) content() []byte {
	w.t.Helper()
	raw := filepath.Join(w.t.TempDir(), "raw")
	w.image("convert", "-O", "raw", w.disk, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) config() string {
	w.t.Helper()
	text, err := w.Cluster.ReadGuest(w.ctx, cluster.VM, vmid)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// enrolled tells how many of the certificates are on the disk.
func (w *world) enrolled() int {
	w.t.Helper()
	m, err := ovmf.Parse(w.content())
	if err != nil {
		w.t.Fatal(err)
	}
	missing, err := m.Enroll(ovmf.Microsoft2023())
	if err != nil {
		w.t.Fatal(err)
	}
	return len(ovmf.Microsoft2023()) - len(missing)
}

const good = ",efitype=4m,pre-enrolled-keys=1,size=528K"

func TestEnroll(t *testing.T) {
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t, format, good)
			if format == "qcow2" {
				w.image("snapshot", "-c", "before", w.disk)
			}
			if err := Enroll(w.ctx, w.Host, vmid); err != nil {
				t.Fatal(err)
			}
			if n := w.enrolled(); n != 4 {
				t.Errorf("%d certificates", n)
			}
			want := "bios: ovmf\nefidisk0: local:100/vm-100-disk-0." + format + ",efitype=4m,ms-cert=2023k,pre-enrolled-keys=1,size=528K\nname: a\n"
			if diff := cmp.Diff(want, w.config()); diff != "" {
				t.Error(diff)
			}
			said := "KEK: enrolled 'Microsoft Corporation KEK 2K CA 2023'\ndb: enrolled 'Windows UEFI CA 2023'\n" +
				"db: enrolled 'Microsoft UEFI CA 2023'\ndb: enrolled 'Microsoft Option ROM UEFI CA 2023'\n"
			if diff := cmp.Diff(said, w.out.String()); diff != "" {
				t.Error(diff)
			}
			before, err := os.ReadFile(w.disk)
			if err != nil {
				t.Fatal(err)
			}
			w.out.Reset()
			if err := Enroll(w.ctx, w.Host, vmid); err != nil || w.out.String() != "all certificates are enrolled already\n" {
				t.Errorf("%q, %v", w.out.String(), err)
			}
			if after, err := os.ReadFile(w.disk); err != nil || !bytes.Equal(before, after) {
				t.Error("the disk changed again", err)
			}
			if left, _ := os.ReadDir(filepath.Join(w.Root, "run/virtsmith")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if format == "qcow2" {
				w.image("snapshot", "-a", "before", w.disk)
				if n := w.enrolled(); n != 0 {
					t.Errorf("%d certificates in the snapshot", n)
				}
			}
		})
	}
}

func TestEnrollDry(t *testing.T) {
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t, format, good)
			var told strings.Builder
			before := w.config()
			if err := Enroll(plan.With(w.ctx, plan.New(&told)), w.Host, vmid); err != nil {
				t.Fatal(err)
			}
			if w.enrolled() != 0 || w.config() != before {
				t.Error("a dry run changed something")
			}
			if s := told.String(); !strings.Contains(s, "enroll 'Windows UEFI CA 2023' into db of local:100/vm-100-disk-0."+format) || !strings.Contains(s, "ms-cert=2023k") {
				t.Error(s)
			}
		})
	}
}

func TestEnrollRefused(t *testing.T) {
	tests := map[string]struct {
		options string
		change  func(t *testing.T, w *world)
		want    string
	}{
		"no disk": {"", func(_ *testing.T, w *world) {
			if err := w.Cluster.WriteGuest(w.ctx, cluster.VM, vmid, []byte("bios: ovmf\n")); err != nil {
				w.t.Fatal(err)
			}
		}, "VM 100 has no EFI disk configured"},
		"no keys":      {",efitype=4m,size=528K", nil, "EFI disk of VM 100 was made without pre-enrolled keys"},
		"2m":           {",pre-enrolled-keys=1,size=528K", nil, "EFI disk of VM 100 is not of type 4m, which Secure Boot needs"},
		"locked":       {good + "\nlock: backup", nil, "VM is locked (backup)"},
		"template":     {good + "\ntemplate: 1", nil, "VM 100 is a template: its disks do not change"},
		"running":      {good, runs, "VM 100 is running - shut it down to enroll EFI keys"},
		"no store":     {good, func(_ *testing.T, w *world) { w.put(make([]byte, 540672)) }, "enroll certificates in local:100/vm-100-disk-0.raw: not a usable store of EFI variables: no firmware volume"},
		"setup mode":   {good, noKeys, "PK: no keys are enrolled: Secure Boot is in setup mode"},
		"disk is gone": {good, func(_ *testing.T, w *world) { os.Remove(w.disk) }, "vm-100-disk-0.raw"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "raw", tt.options)
			if tt.change != nil {
				tt.change(t, w)
			}
			before := w.config()
			err := Enroll(w.ctx, w.Host, vmid)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if w.config() != before {
				t.Error("the configuration changed")
			}
		})
	}
}

func (w *world) put(b []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.disk, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func noKeys(t *testing.T, w *world) {
	b, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		t.Skip(err)
	}
	w.put(b)
}

// runs starts something that passes for the VM.
func runs(t *testing.T, w *world) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "read x", "qemu", w.Dir.PID(vmid))
	if err := os.MkdirAll(filepath.Dir(w.Dir.PID(vmid)), 0o755); err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	if err := os.WriteFile(w.Dir.PID(vmid), fmt.Appendln(nil, cmd.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
}

// failing fails the first program that writes to the disk, after it wrote.
type failing struct {
	run.Runner
	disk string
	done bool
}

func (f *failing) Run(ctx context.Context, c run.Cmd) error {
	err := f.Runner.Run(ctx, c)
	if err == nil && !f.done && !c.ReadOnly && slices.Contains(c.Args, f.disk) {
		f.done = true
		return errors.New("no space left")
	}
	return err
}

func TestEnrollUndone(t *testing.T) {
	w := newWorld(t, "qcow2", good)
	w.Run = &failing{Runner: w.Run, disk: w.disk}
	before := w.content()
	conf := w.config()
	if err := Enroll(w.ctx, w.Host, vmid); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
	if !bytes.Equal(before, w.content()) || conf != w.config() {
		t.Error("something changed")
	}
}

func TestPlainUndone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(path, []byte("abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := plain(path).write(t.Context(), nil, []ovmf.Span{
		{Offset: 3, Old: []byte("d"), New: []byte("D")},
		{Offset: -1, Old: []byte("x"), New: []byte("X")},
	})
	if err == nil {
		t.Error("no error")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "abcdef" {
		t.Error(string(b), err)
	}
}
