package rbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// external opens the cluster as one elsewhere, in a namespace of the test's own.
func external(t testing.TB, c *testceph.Cluster, more ...string) *world {
	t.Helper()
	return opened(t, c, c.MonHost, more...)
}

func opened(t testing.TB, c *testceph.Cluster, monitor string, more ...string) *world {
	t.Helper()
	space := strings.ToLower(filepath.Base(t.Name()))
	c.RBD("namespace", "create", testceph.Pool+"/"+space)
	return serve(t, t.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, append([]string{"monhost " + monitor, "namespace " + space}, more...)...)
}

func (w *world) alloc(guest id.VM) id.Volume {
	w.t.Helper()
	v, err := w.Alloc(w.ctx, "it", storage.Alloc{Guest: guest, Size: 4 << 10})
	w.ok(err)
	return v
}

func (w *world) list() []storage.Volume {
	w.t.Helper()
	list, err := w.List(w.ctx, "it", storage.Filter{Content: []storage.Content{storage.Images}})
	w.ok(err)
	return list
}

// slow skips what takes long, unless everything is to be tested.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes long: set VIRTSMITH_TEST_ALL=1")
	}
}

// wrongKey: who may not come in is told so at once.
func wrongKey(t *testing.T, c *testceph.Cluster) {
	root := t.TempDir()
	other := "[client.admin]\n\tkey = AQBxYSJpAAAAABAAzRCJGk8KcuBqcoMoJz9kXw==\n"
	w := serve(t, root, run.Host{}, map[string]string{"keyring": other}, c.Section()...)
	began := time.Now()
	_, err := w.List(w.ctx, "it", storage.Filter{})
	if err == nil || !strings.Contains(err.Error(), "refuses client.admin: is the key in "+root) || time.Since(began) > 30*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	_, err = w.Info(w.ctx, id.Volume{Storage: "it", Name: "vm-100-disk-0"})
	if err == nil || errors.Is(err, storage.ErrNotExist) {
		t.Errorf("info: %v", err)
	}
	key := filepath.Join(root, "etc/pve/priv/ceph/it.keyring")
	w.ok(os.WriteFile(key, []byte("no key\n"), 0o600))
	if _, err := w.Status(w.ctx, "it"); err == nil || err.Error() != "ceph error: Not a proper rbd authentication file: "+key {
		t.Errorf("status: %v", err)
	}
}

// noPool: a pool that is not there is not an image that is not there.
func noPool(t *testing.T, c *testceph.Cluster) {
	w := serve(t, t.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, append(c.Section(), "pool none")...)
	if _, err := w.Info(w.ctx, id.Volume{Storage: "it", Name: "vm-100-disk-0"}); err == nil || errors.Is(err, storage.ErrNotExist) {
		t.Errorf("info: %v", err)
	}
	if err := w.Free(w.ctx, id.Volume{Storage: "it", Name: "vm-100-disk-0"}); err == nil {
		t.Error("free")
	}
	if _, err := w.Status(w.ctx, "it"); err == nil || err.Error() != "could not get usage stats for pool 'none'" {
		t.Errorf("status: %v", err)
	}
}

// damaged: an image without its header is listed, and can be removed.
func damaged(t *testing.T, c *testceph.Cluster) {
	w := external(t, c)
	whole, half := w.alloc(100), w.alloc(100)
	space := "damaged"
	header := strings.TrimPrefix(strings.TrimSpace(c.Rados("-p", testceph.Pool, "--namespace", space, "get", "rbd_id."+half.Name, "-")), "")
	header = strings.TrimLeft(header, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")
	c.Rados("-p", testceph.Pool, "--namespace", space, "rm", "rbd_header."+header)
	var got []string
	for _, v := range w.list() {
		got = append(got, fmt.Sprint(v.Name, " ", v.Size))
	}
	if want := []string{whole.Name + " 4194304", half.Name + " 0"}; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	w.ok(w.Free(w.ctx, half))
	w.ok(w.Free(w.ctx, whole))
	if left := w.list(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// strangers: what is not named as volumes are is nobody's.
func strangers(t *testing.T, c *testceph.Cluster) {
	w := external(t, c)
	v := w.alloc(100)
	for _, name := range []string{"other", "vm-0100-disk-0", "csi-vol-1", "vm-100"} {
		c.RBD("create", "--size", "1", testceph.Pool+"/strangers/"+name)
	}
	if list := w.list(); len(list) != 1 || list[0].Name != v.Name {
		t.Errorf("listed %v", list)
	}
}

// dataPool: the data lies elsewhere than what is known of the image.
func dataPool(t *testing.T, c *testceph.Cluster) {
	c.Ceph("osd", "pool", "create", "data", "8")
	w := external(t, c, "data-pool data")
	v := w.alloc(100)
	if text := c.RBD("info", "rbd/datapool/"+v.Name); !strings.Contains(text, "data_pool: data") {
		t.Errorf("the image is\n%s", text)
	}
	base, err := w.CreateBase(w.ctx, v)
	w.ok(err)
	clone, err := w.Clone(w.ctx, base, 101, "")
	w.ok(err)
	if text := c.RBD("info", "rbd/datapool/vm-101-disk-0"); clone.Name != "base-100-disk-0/vm-101-disk-0" || !strings.Contains(text, "data_pool: data") {
		t.Errorf("the clone %s is\n%s", clone, text)
	}
	if _, err := w.Status(w.ctx, "it"); err != nil {
		t.Error(err)
	}
}

// fromSnapshot: a clone of a state keeps that state.
func fromSnapshot(t *testing.T, c *testceph.Cluster) {
	w := external(t, c)
	v := w.alloc(100)
	w.ok(w.Snapshot(w.ctx, v, "one"))
	clone, err := w.Clone(w.ctx, v, 101, "one")
	w.ok(err)
	if clone.Name != "vm-101-disk-0" {
		t.Errorf("the clone is %s", clone)
	}
	err = w.DeleteSnapshot(w.ctx, v, "one", false)
	if want := "snapshot 'one' of volume 'vm-100-disk-0' is still in use by linked clones: vm-101-disk-0"; !errors.Is(err, storage.ErrInUse) || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if err := w.Free(w.ctx, v); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("free: %v", err)
	}
	w.ok(w.Free(w.ctx, clone))
	w.ok(w.DeleteSnapshot(w.ctx, v, "one", false))
	w.ok(w.Free(w.ctx, v))
}

// stopped: a monitor or an OSD that does not answer is told of in bounded time, and
// nothing is left behind that waits for it.
func stopped(t *testing.T, c *testceph.Cluster, daemon string) {
	w := external(t, c)
	v := w.alloc(100)
	c.Signal(daemon, syscall.SIGSTOP)
	defer c.Signal(daemon, syscall.SIGCONT)
	ops := map[string]func() error{
		"list":  func() error { _, err := w.List(t.Context(), "it", storage.Filter{}); return err },
		"alloc": func() error { _, err := w.Alloc(t.Context(), "it", storage.Alloc{Guest: 101, Size: 1}); return err },
		"free":  func() error { return w.Free(t.Context(), v) },
		"info":  func() error { _, err := w.Info(t.Context(), v); return err },
	}
	if daemon == "mon" {
		ops["status"] = func() error { _, err := w.Status(t.Context(), "it"); return err }
		ops["all statuses"] = func() error {
			lines, err := w.Statuses(t.Context(), nil)
			if err == nil && len(lines) == 1 {
				err = lines[0].Err
			}
			return err
		}
	}
	began := time.Now()
	var wg sync.WaitGroup
	for name, op := range ops {
		wg.Go(func() {
			if err := op(); err == nil || !strings.Contains(err.Error(), "does not answer in time") || !strings.Contains(err.Error(), c.MonHost) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("it took %s", took)
	}
	out, _ := exec.Command("pgrep", "-fa", "^(/usr/bin/)?(rbd|[^ ]*python3 [^ ]*ceph) .*"+c.MonHost).Output()
	if len(out) > 0 {
		t.Errorf("there still runs:\n%s", out)
	}
	c.Signal(daemon, syscall.SIGCONT)
	w.ok(w.Free(w.ctx, v))
	if left := w.list(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// full: who writes to a full pool would wait for ever.
func full(t *testing.T, c *testceph.Cluster) {
	slow(t)
	c.Ceph("osd", "pool", "create", "small", "8")
	c.Ceph("osd", "pool", "set-quota", "small", "max_bytes", "4194304")
	w := serve(t, t.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, append(c.Section(), "pool small")...)
	v, err := w.Alloc(w.ctx, "it", storage.Alloc{Guest: 100, Size: 64 << 10})
	w.ok(err)
	c.RBD("bench", "--io-type", "write", "--io-size", "1M", "--io-total", "16M", "small/"+v.Name)
	for range 100 {
		if strings.Contains(c.Ceph("health"), "full") {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	st, err := w.Status(w.ctx, "it")
	w.ok(err)
	if st.Available != 0 {
		t.Errorf("%+v", st)
	}
	_, err = w.Alloc(w.ctx, "it", storage.Alloc{Guest: 100, Size: 1})
	if err == nil || !strings.HasSuffix(err.Error(), "pool 'small' is full: No space left on device") {
		t.Errorf("alloc: %v", err)
	}
	c.Ceph("osd", "pool", "set-quota", "small", "max_bytes", "0")
	for range 100 {
		if !strings.Contains(c.Ceph("health"), "full") {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.ok(w.Free(w.ctx, v))
	if left := w.list(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// killed: kill -9 at any moment leaves nothing that could not be used or removed.
func killed(t *testing.T, c *testceph.Cluster) {
	w := external(t, c)
	base, err := w.CreateBase(w.ctx, w.alloc(9000))
	w.ok(err)
	rounds := 3
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		rounds = 20
	}
	for i := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), "RBD_CHILD="+w.root, "RBD_OPTIONS="+strings.Join(append(c.Section(), "namespace killed"), "\n"), "RBD_BASE="+base.String())
		w.ok(cmd.Start())
		time.Sleep(time.Duration(150+i*137%700) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	v := w.alloc(100)
	w.ok(w.ActivateVolumes(w.ctx, "", v))
	for _, v := range w.list() {
		if !strings.HasPrefix(v.Name, "base-9000-disk-0") || strings.Contains(v.Name, "/") {
			w.freed(id.Volume{Storage: "it", Name: v.Name})
		}
	}
	w.freed(base)
	if left := w.list(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// freed removes a volume, also one whose client that was killed is still waited for.
func (w *world) freed(v id.Volume) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		err := w.Free(w.ctx, v)
		if err == nil {
			return
		}
		if !errors.Is(err, storage.ErrInUse) || time.Now().After(end) {
			w.t.Fatal(err)
		}
	}
}

// TestChild makes volumes and clones until it is killed, for [killed].
func TestChild(t *testing.T) {
	root := os.Getenv("RBD_CHILD")
	if root == "" {
		t.Skip("is run by another test")
	}
	key, err := os.ReadFile(filepath.Join(root, "etc/pve/priv/ceph/it.keyring"))
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, root, run.Host{}, map[string]string{"keyring": string(key)}, strings.Split(os.Getenv("RBD_OPTIONS"), "\n")...)
	base, err := id.ParseVolume(os.Getenv("RBD_BASE"))
	w.ok(err)
	for context.Cause(w.ctx) == nil {
		v := w.alloc(100)
		_, err := w.Clone(w.ctx, base, 101, "")
		w.ok(err)
		w.ok(w.Free(w.ctx, v))
	}
}
