package power

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// BenchmarkStart times a start from the call until the guest runs and the monitor
// answers, beside a bare QEMU with the same arguments in the same run.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b, small+"net0: virtio=BC:24:11:00:00:01\nserial0: socket\nscsi0: none,media=cdrom\n")
	c, err := w.Show(w.ctx, vmid, "") // warms the cache of what QEMU can do, too
	if err != nil {
		b.Fatal(err)
	}
	var ours, bare time.Duration
	for range b.N {
		ours += timed(b, w.start)
		if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
		if err := os.MkdirAll(string(w.Dir), 0o755); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
		bare += timed(b, func() {
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			m, err := qmp.DialStarting(w.ctx, w.Dir.QMP(vmid))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := m.Status(w.ctx); err != nil {
				b.Fatal(err)
			}
			m.Close()
		})
		if err := w.Call(w.ctx, vmid, "quit", nil, nil); err != nil {
			b.Fatal(err)
		}
		_ = cmd.Wait()
		if err := w.Dir.Clear(vmid); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N)
	b.ReportMetric(ours.Seconds()*1000/n, "ms/start")
	b.ReportMetric(bare.Seconds()*1000/n, "ms/bare")
	b.ReportMetric((ours-bare).Seconds()*1000/n, "ms/overhead")
}

func timed(b *testing.B, do func()) time.Duration {
	b.Helper()
	begun := time.Now()
	do()
	return time.Since(begun)
}
