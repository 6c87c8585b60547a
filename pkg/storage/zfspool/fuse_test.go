package zfspool_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testdaemon"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// fuseSocket is where the zfs of zfs-fuse asks its daemon.
const fuseSocket = "/var/run/zfs/zfs_socket"

// startFuse starts zfs-fuse for the test, which is skipped where it cannot run. One that
// is there already is another's.
func startFuse(t testing.TB) {
	t.Helper()
	if testnode.Inside() {
		t.Skip("the node has the real ZFS")
	}
	if _, err := exec.LookPath("zfs-fuse"); err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Getuid() != 0 {
		t.Skipf("needs root and /dev/fuse: %v", err)
	}
	if exec.Command("zpool", "list").Run() == nil {
		t.Skip("this machine has a ZFS of its own")
	}
	if err := os.MkdirAll(filepath.Dir(fuseSocket), 0o755); err != nil {
		t.Skip(err)
	}
	var said bytes.Buffer
	daemon := exec.Command("zfs-fuse", "--no-daemon", "--no-kstat-mount", "--pidfile", filepath.Join(t.TempDir(), "pid"))
	daemon.Stdout, daemon.Stderr = &said, &said
	ended, err := testdaemon.Start(daemon)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = daemon.Process.Kill()
			<-ended
		}
		_ = os.Remove(fuseSocket)
	})
	for range 200 {
		if exec.Command("zpool", "list").Run() == nil {
			return
		}
		select {
		case <-ended:
			t.Skipf("zfs-fuse does not run here: %s", &said)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Skip("zfs-fuse does not answer")
}

// A fuse runs the zfs of zfs-fuse, which is older than what we ask for: it translates.
type fuse struct{ run.Host }

func (f fuse) Run(ctx context.Context, c run.Cmd) error {
	if c.Name() != "zfs" {
		return f.Host.Run(ctx, c)
	}
	args := slices.Clone(c.Args)
	column := slices.Index(args, "-o") + 1
	switch {
	case args[0] == "create":
		// It knows neither, as its file systems have none.
		args = slices.DeleteFunc(args, func(a string) bool { return a == "acltype=posixacl" || a == "xattr=sa" })
		for i := 0; i+1 < len(args); i++ {
			if args[i] == "-o" && args[i+1] == "-o" {
				args = slices.Delete(args, i, i+1)
				i--
			}
		}
	case args[0] == "list" && slices.Contains(args, "clones"):
		return f.translate(ctx, c, []string{"list", "-H", "-t", "filesystem", "-o", "origin"}, func(row []string) []string {
			if strings.HasPrefix(row[0], c.Args[len(c.Args)-1]+"@") {
				return row
			}
			return nil
		})
	case args[0] == "list" && strings.HasPrefix(args[column], "name,guid"):
		args[slices.Index(args, "-Hp")], args[column] = "-H", "name,creation"
		return f.translate(ctx, c, args, func(row []string) []string {
			at, err := time.Parse("Mon Jan _2 15:04 2006", row[1])
			if err != nil {
				return row
			}
			return []string{row[0], "0", strconv.FormatInt(at.Unix(), 10)}
		})
	case args[0] == "list" && slices.Contains(args, "-Hp"):
		args[slices.Index(args, "-Hp")] = "-H"
		return f.translate(ctx, c, args, func(row []string) []string {
			for i, text := range row {
				row[i] = plainSize(text)
			}
			return row
		})
	}
	c.Args = args
	// What was unmounted is gone only a moment later.
	for range 60 {
		if err := f.Host.Run(ctx, c); err == nil || !strings.Contains(err.Error(), "busy") || ctx.Err() != nil {
			return err
		}
		if args[0] == "rename" {
			_ = exec.Command("zfs", "unmount", args[1]).Run()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return f.Host.Run(ctx, c)
}

// translate runs zfs and changes the rows that it prints.
func (f fuse) translate(ctx context.Context, c run.Cmd, args []string, change func([]string) []string) error {
	out := c.Stdout
	var text bytes.Buffer
	c.Args, c.Stdout = args, &text
	if err := f.Host.Run(ctx, c); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if row := change(strings.Split(strings.TrimSpace(line), "\t")); row != nil {
			if _, err := io.WriteString(out, strings.Join(row, "\t")+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

// plainSize turns 16M into bytes.
func plainSize(text string) string {
	unit := strings.IndexByte("BKMGT", text[len(text)-1])
	n, err := strconv.ParseFloat(text[:len(text)-1], 64)
	if unit < 0 || err != nil {
		return text
	}
	return fmt.Sprint(int64(n * float64(int64(1)<<(10*unit))))
}

// TestFuse takes the file system of a container through its life with zfs-fuse, where
// there is no better ZFS.
func TestFuse(t *testing.T) {
	startFuse(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	command(t, "truncate", "-s", "128M", disk)
	mountpoint := filepath.Join(dir, "mnt")
	_ = exec.Command("zpool", "destroy", "-f", "vsfuse").Run() // that of a test that was killed
	command(t, "zpool", "create", "-o", "cachefile=none", "-m", mountpoint, "vsfuse", disk)
	t.Cleanup(func() { patiently(t, "zpool", "destroy", "-f", "vsfuse") })
	s := serve(t, fuse{}, "zfspool: tank\n\tpool vsfuse\n\tmountpoint "+mountpoint+"\n")
	subvolume(t, s, mountpoint, false)
	if st, err := s.Status(t.Context(), "tank"); err != nil || st.Total <= 0 {
		t.Errorf("%+v, %v", st, err)
	}
}
