package probe

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// counting counts the programs that are run.
type counting struct {
	run.Host
	n int
}

func (c *counting) Run(ctx context.Context, cmd run.Cmd) error {
	c.n++
	return c.Host.Run(ctx, cmd)
}

func TestProbe(t *testing.T) {
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("QEMU is not installed")
	}
	runner := &counting{}
	p := &Prober{Runner: runner, Cache: filepath.Join(t.TempDir(), "cache"), Look: run.Host{}.Look}
	first, err := p.QEMU(t.Context(), "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if first.Binary != path || first.Version == "" {
		t.Errorf("got %s %s", first.Binary, first.Version)
	}
	for _, c := range []struct {
		what string
		in   []string
		want string
	}{
		{"machines", first.Machines, "q35"},
		{"CPUs", first.CPUs, "qemu64"},
		{"devices", first.Devices, "virtio-blk-pci"},
		{"objects", first.Objects, "throttle-group"},
		{"aio", first.AIO, "threads"},
		{"CPU flags", first.Properties["cpu"], "aes"},
		{"properties", first.Properties["virtio-net-pci"], "host_mtu"},
	} {
		if !slices.Contains(c.in, c.want) {
			t.Errorf("%s: no %s in %v", c.what, c.want, c.in)
		}
	}
	second, err := p.QEMU(t.Context(), "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" || runner.n != 1 {
		t.Errorf("asked %d times: %s", runner.n, diff)
	}
	stored, err := filepath.Glob(filepath.Join(p.Cache, "*.json"))
	if err != nil || len(stored) != 1 {
		t.Fatal(stored, err)
	}
	if err := os.WriteFile(stored[0], []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.QEMU(t.Context(), "x86_64"); err != nil || runner.n != 2 {
		t.Errorf("a damaged answer: %v, asked %d times", err, runner.n)
	}
}

func TestProbeMissing(t *testing.T) {
	p := &Prober{Runner: run.Host{}, Look: func(string) (string, error) { return "", errors.New("no") }}
	if _, err := p.QEMU(t.Context(), "x86_64"); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	// A program that is no QEMU.
	p.Look = func(string) (string, error) { return "/bin/true", nil }
	if _, err := p.QEMU(t.Context(), "x86_64"); err == nil {
		t.Error("/bin/true was taken for QEMU")
	}
}

func BenchmarkCached(b *testing.B) {
	p := &Prober{Runner: run.Host{}, Cache: b.TempDir(), Look: run.Host{}.Look}
	if _, err := p.QEMU(b.Context(), "x86_64"); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if _, err := p.QEMU(b.Context(), "x86_64"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestIOURing lets QEMU say whether the answer is right.
func TestIOURing(t *testing.T) {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed")
	}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "bench", "-f", "raw", "-i", "io_uring", "-c", "1", "-d", "1", "-s", "512", disk).CombinedOutput()
	if usable := IOURing(); usable != (err == nil) {
		t.Errorf("usable %v, but QEMU: %v: %s", usable, err, out)
	}
	t.Logf("io_uring usable: %v", err == nil)
}
