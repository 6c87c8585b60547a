package lxc_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

const sockets = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 16741 @/var/lib/lxc/100/command
0000000000000000: 00000003 00000000 00000000 0001 03 16742 @/var/lib/lxc/101/command
0000000000000000: 00000002 00000000 00010000 0001 01 16743 @/var/lib/lxc/10 2/command
0000000000000000: 00000002 00000000 00010000 0001 01 16744 @/var/lib/lxc2/103/command
0000000000000000: 00000002 00000000 00010000 0001 01 16745 @/var/lib/lxc/a/b/command
0000000000000000: 00000002 00000000 00010000 0001 01 16746 /var/lib/lxc/105/command
0000000000000000: 00000002 00000000 00010000 0001 01 16747 @/var/lib/lxc/106/monitor
0000000000000000: 00000002 00000000 00010000 0001 01 16748
0000000000000000: 00000002 00000000 00010000 0001 01 16749 @lxc/d78a9d7e97b4b375/monitor-sock
`

func proc(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "net/unix"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestActive(t *testing.T) {
	got, err := lxc.Active(proc(t, sockets), "/var/lib/lxc/")
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"10 2", "100"}) {
		t.Errorf("%q", names)
	}
	if _, err := lxc.Active(t.TempDir(), "/var/lib/lxc"); err == nil {
		t.Error("no list, and no error")
	}
}

func FuzzActive(f *testing.F) {
	f.Add(sockets)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		got, err := lxc.Active(proc(t, text), "/var/lib/lxc")
		for name := range got {
			if err == nil && (name == "" || strings.Contains(name, "/")) {
				t.Errorf("%q", name)
			}
		}
	})
}

// BenchmarkActive is the list of a node with 1,000 containers.
func BenchmarkActive(b *testing.B) {
	text := &strings.Builder{}
	for i := range 1000 {
		fmt.Fprintf(text, "0000000000000000: 00000002 00000000 00010000 0001 01 %d @/var/lib/lxc/%d/command\n", i, 100+i)
		fmt.Fprintf(text, "0000000000000000: 00000003 00000000 00000000 0001 03 %d /run/systemd/journal/stdout\n", i)
	}
	dir := proc(b, text.String())
	for b.Loop() {
		if got, err := lxc.Active(dir, "/var/lib/lxc"); err != nil || len(got) != 1000 {
			b.Fatal(len(got), err)
		}
	}
}
