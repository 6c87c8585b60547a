package term_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/term"
)

func TestProgressLines(t *testing.T) {
	now := time.Unix(0, 0)
	var out strings.Builder
	p := term.NewProgressLines(&out, 16<<20, func() time.Time { return now })
	for i := range int64(17) {
		p.Set(i << 20)
		p.Set(0)
		now = now.Add(250 * time.Millisecond)
	}
	p.Set(17 << 20)
	p.Done()
	want := `transferred 0.0 B of 16.0 MiB (0.00%)
transferred 4.0 MiB of 16.0 MiB (25.00%)
transferred 8.0 MiB of 16.0 MiB (50.00%)
transferred 12.0 MiB of 16.0 MiB (75.00%)
transferred 16.0 MiB of 16.0 MiB (100.00%)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTransferLine(t *testing.T) {
	tests := []struct {
		done, total int64
		want        string
	}{
		{1 << 20, 16 << 20, "transferred 1.0 MiB of 16.0 MiB (6.25%)"},
		{0, 0, "transferred 0.0 B of 0.0 B (100.00%)"},
		{0, 528 << 10, "transferred 0.0 B of 528.0 KiB (0.00%)"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			if got := term.TransferLine(tt.done, tt.total); got != tt.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// terminal returns the two ends of a terminal of 80 columns.
func terminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close(); _ = tty.Close() })
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	return master, tty
}

func TestBarOnATerminal(t *testing.T) {
	master, tty := terminal(t)
	if !term.IsTerminal(tty) || term.IsTerminal(&strings.Builder{}) {
		t.Error("terminals are not told from the rest")
	}
	if columns, rows, ok := term.Size(tty); columns != 80 || rows != 24 || !ok {
		t.Errorf("size %d x %d, %v", columns, rows, ok)
	}
	seen := make(chan string)
	go func() {
		var all strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(all.String(), "100.0 %") {
			n, err := master.Read(buf)
			if err != nil {
				break
			}
			all.Write(buf[:n])
		}
		seen <- all.String()
	}()
	p := term.NewProgress(tty, "scsi0", 16<<20)
	p.Set(8 << 20)
	p.Set(16 << 20)
	p.Done()
	select {
	case text := <-seen:
		if !strings.Contains(text, "scsi0") || !strings.Contains(text, "of 16.0 MiB") {
			t.Errorf("shown: %q", text)
		}
	case <-time.After(10 * time.Second):
		t.Error("no full bar was shown")
	}
}

func TestRaw(t *testing.T) {
	_, tty := terminal(t)
	restore, err := term.Raw(tty)
	if err != nil {
		t.Fatal(err)
	}
	restore()
	restore()
}
