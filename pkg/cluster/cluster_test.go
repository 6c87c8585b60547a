package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// world lays out a tree; names are relative to its root.
func world(t testing.TB, files map[string]string) *cluster.Client {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.New(root, "pve1")
}

const members = `{"nodename":"pve1","version":9,
"cluster":{"name":"lab","version":3,"nodes":3,"quorate":1},
"nodelist":{"pve1":{"id":1,"online":1,"ip":"192.0.2.101"},"pve2":{"id":2,"online":0,"ip":"192.0.2.102"}}}`

func TestEmptyTree(t *testing.T) {
	c, ctx := world(t, nil), t.Context()
	guests, err := c.Guests(ctx)
	if err != nil || len(guests) != 0 {
		t.Errorf("guests %v, %v", guests, err)
	}
	if next, err := c.NextFree(ctx); err != nil || next != 100 {
		t.Errorf("next free %v, %v", next, err)
	}
	if m, err := c.Members(ctx); err != nil || len(m.Nodes) != 1 || !m.Nodes[0].Online || !m.Quorate {
		t.Errorf("members %+v, %v", m, err)
	}
	_, err = c.ReadGuest(ctx, cluster.VM, 100)
	if err == nil || err.Error() != "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist" {
		t.Errorf("read guest: %v", err)
	}
	if !errors.Is(err, cluster.ErrNoGuest) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not of the right kind", err)
	}
	if left, _ := os.ReadDir(c.Root()); len(left) != 0 {
		t.Errorf("reading has made %v", left)
	}
}

func TestGuests(t *testing.T) {
	c := world(t, map[string]string{
		"etc/pve/nodes/pve1/qemu-server/100.conf": "memory: 1\n", "etc/pve/nodes/pve1/qemu-server/102.conf": "",
		"etc/pve/nodes/pve2/qemu-server/500.conf": "", "etc/pve/nodes/pve3/lxc/101.conf": "",
		"etc/pve/nodes/pve1/qemu-server/.100.conf.tmp.1": "", "etc/pve/nodes/pve1/qemu-server/007.conf": "",
		"etc/pve/nodes/pve1/lxc/notes.txt": "", "etc/pve/.members": members,
	})
	ctx := t.Context()
	got, err := c.Guests(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := []cluster.Guest{{100, "pve1", cluster.VM}, {101, "pve3", cluster.Container}, {102, "pve1", cluster.VM}, {500, "pve2", cluster.VM}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if next, err := c.NextFree(ctx); err != nil || next != 103 {
		t.Errorf("next free %v, %v", next, err)
	}
	for vmid, want := range map[id.VM]string{
		100: "VM 100 already exists on node 'pve1'", 101: "CT 101 already exists on node 'pve3'", 500: "VM 500 already exists on node 'pve2'", 999: "",
	} {
		if err := c.CheckFree(ctx, vmid); fmt.Sprint(err) != or(want, "<nil>") {
			t.Errorf("%d: %v", vmid, err)
		}
	}
	if _, err := c.ReadGuest(ctx, cluster.VM, 500); err == nil || err.Error() != "Configuration file 'nodes/pve1/qemu-server/500.conf' does not exist" {
		t.Errorf("guest of another node: %v", err)
	}
	if err := c.CheckNode(ctx, "pve9"); err == nil || err.Error() != "no such cluster node 'pve9'" {
		t.Errorf("check node: %v", err)
	}
	if m, err := c.Members(ctx); err != nil || m.Name != "lab" || len(m.Nodes) != 2 || m.Nodes[1].Online {
		t.Errorf("members %+v, %v", m, err)
	}
	if err := c.MoveGuest(ctx, cluster.VM, 100, "pve2"); err != nil {
		t.Fatal(err)
	}
	if g, err := c.Find(ctx, 100); err != nil || g.Node != "pve2" {
		t.Errorf("moved to %+v, %v", g, err)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestNextFreeWithinBounds(t *testing.T) {
	c := world(t, map[string]string{
		"etc/pve/datacenter.cfg": "next-id: lower=200,upper=202\n", "etc/pve/nodes/pve1/lxc/200.conf": "", "etc/pve/nodes/pve1/qemu-server/100.conf": "",
	})
	if next, err := c.NextFree(t.Context()); err != nil || next != 201 {
		t.Errorf("%v, %v", next, err)
	}
	if err := c.WriteGuest(t.Context(), cluster.VM, 201, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.NextFree(t.Context()); err == nil || err.Error() != "unable to get any free VMID in range [200, 202]" {
		t.Errorf("got %v", err)
	}
}

func TestWrite(t *testing.T) {
	c, ctx := world(t, nil), t.Context()
	if err := c.WriteGuest(ctx, cluster.VM, 100, []byte("memory: 512\n")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/pve/qemu-server/100.conf", "etc/pve/local/qemu-server/100.conf"} {
		b, err := os.ReadFile(filepath.Join(c.Root(), name))
		if err != nil || string(b) != "memory: 512\n" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if err := c.WriteFile(ctx, "priv/storage/nas.pw", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.Path("priv/storage/nas.pw")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := c.WriteFile(ctx, cluster.FirewallFile(100), []byte("[OPTIONS]\n")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is gone already is no error
		if err := c.RemoveGuest(ctx, cluster.VM, 100); err != nil {
			t.Fatal(err)
		}
	}
	if c.Exists(ctx, cluster.FirewallFile(100)) || c.Exists(ctx, "qemu-server/100.conf") {
		t.Error("something is left")
	}
}

func TestReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere; see the test scripts of the commands for a read-only mount")
	}
	c := world(t, map[string]string{"etc/pve/nodes/pve1/qemu-server/100.conf": ""})
	if err := os.Chmod(c.Path("nodes/pve1/qemu-server"), 0o500); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteGuest(t.Context(), cluster.VM, 100, nil); err == nil || !strings.Contains(err.Error(), "no right to change /etc/pve") {
		t.Errorf("got %v", err)
	}
}

// TestWriteNoMoreThanIsRead: a file that could not be read again is not written.
func TestWriteNoMoreThanIsRead(t *testing.T) {
	c := world(t, nil)
	text := bytes.Repeat([]byte("x"), 1<<20)
	if err := c.WriteGuest(t.Context(), cluster.VM, 100, text); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteGuest(t.Context(), cluster.VM, 100, append(text, 'x')); !errors.Is(err, file.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	if got, err := c.ReadGuest(t.Context(), cluster.VM, 100); err != nil || len(got) != len(text) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestKilledWriter: what a writer that was killed has left goes with the next write.
func TestKilledWriter(t *testing.T) {
	const left, other = "etc/pve/nodes/pve1/qemu-server/.100.conf.tmp.1", "etc/pve/nodes/pve1/qemu-server/.101.conf.tmp.1"
	write := func(ctx context.Context, c *cluster.Client) error {
		return c.WriteGuest(ctx, cluster.VM, 100, []byte("memory: 1\n"))
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		do   func(context.Context, *cluster.Client) error
		gone bool
	}{
		{"write", t.Context(), write, true},
		{"remove", t.Context(), func(ctx context.Context, c *cluster.Client) error { return c.RemoveGuest(ctx, cluster.VM, 100) }, true},
		{"dry run", plan.With(t.Context(), plan.New(io.Discard)), write, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := world(t, map[string]string{left: "memo", other: "memo"})
			if err := tt.do(tt.ctx, c); err != nil {
				t.Fatal(err)
			}
			if gone := !file.Exists(filepath.Join(c.Root(), left)); gone != tt.gone {
				t.Errorf("gone: %v", gone)
			}
			if !file.Exists(filepath.Join(c.Root(), other)) {
				t.Error("another guest's is gone")
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	c := world(t, map[string]string{"etc/pve/nodes/pve1/qemu-server/100.conf": "cores: 1\nmemory: 512\nname: a\nostype: l26\nsockets: 1\n"})
	var out bytes.Buffer
	ctx := plan.With(t.Context(), plan.New(&out))
	if err := c.WriteGuest(ctx, cluster.VM, 100, []byte("cores: 1\nmemory: 1024\nname: a\nostype: l26\nsockets: 1\ntags: x\n")); err != nil {
		t.Fatal(err)
	}
	want := `--- /etc/pve/nodes/pve1/qemu-server/100.conf
+++ /etc/pve/nodes/pve1/qemu-server/100.conf
@@ -1,5 +1,6 @@
 cores: 1
-memory: 512
+memory: 1024
 name: a
 ostype: l26
 sockets: 1
+tags: x
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if b, err := c.ReadGuest(ctx, cluster.VM, 100); err != nil || !strings.Contains(string(b), "1024") {
		t.Errorf("what would hold: %q, %v", b, err)
	}
	if b, err := c.ReadGuest(t.Context(), cluster.VM, 100); err != nil || !strings.Contains(string(b), "512") {
		t.Errorf("what holds: %q, %v", b, err)
	}
	out.Reset()
	if err := c.Remove(ctx, "nodes/pve1/qemu-server/100.conf"); err != nil {
		t.Fatal(err)
	}
	if c.Exists(ctx, "nodes/pve1/qemu-server/100.conf") {
		t.Error("would still be there")
	}
	if err := c.WriteFile(ctx, "priv/shadow.cfg", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteGuest(ctx, cluster.VM, 101, []byte("cipassword: secret\n")); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "secret\n") {
		t.Errorf("a secret is told: %s", out.String())
	}
	for _, lock := range []func() error{
		func() error {
			l, err := c.LockGuest(ctx, cluster.VM, 100, file.LockOptions{})
			return errors.Join(err, l.Release())
		},
		func() error { l, err := c.Lock(ctx, "x", file.LockOptions{}); return errors.Join(err, l.Release()) },
	} {
		if err := lock(); err != nil {
			t.Error(err)
		}
	}
	if file.Exists(filepath.Join(c.Root(), "run")) || file.Exists(c.Path("priv")) {
		t.Error("a dry run has made something")
	}
}

func TestLockGuest(t *testing.T) {
	c, ctx := world(t, nil), t.Context()
	held, err := c.LockGuest(ctx, cluster.VM, 100, file.LockOptions{What: "task UPID:x by root@pam"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.LockGuest(ctx, cluster.VM, 100, file.LockOptions{Patience: 20 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "run/lock/qemu-server/lock-100.conf' - got timeout: held by process") || !strings.Contains(err.Error(), "task UPID:x by root@pam") {
		t.Errorf("got %v", err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	ran := false
	if err := c.WithGuest(ctx, cluster.VM, 100, file.LockOptions{}, func(context.Context) error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("%v, %v", ran, err)
	}
}

func TestLockDomain(t *testing.T) {
	c, ctx := world(t, nil), t.Context()
	held, err := c.Lock(ctx, "storage-local", file.LockOptions{What: "imgcopy"})
	if err != nil {
		t.Fatal(err)
	}
	if !file.Exists(c.Path("priv/lock/storage-local")) {
		t.Error("there is no folder for the others to see")
	}
	_, err = c.Lock(ctx, "storage-local", file.LockOptions{Patience: 20 * time.Millisecond})
	if _, ok := errors.AsType[*file.LockTimeout](err); !ok || !strings.Contains(err.Error(), "imgcopy") {
		t.Errorf("got %v", err)
	}
	if err := held.Release(); err != nil || file.Exists(c.Path("priv/lock/storage-local")) {
		t.Errorf("release: %v", err)
	}
	// A holder that was killed leaves the folder, but not the lock on the file.
	if err := os.MkdirAll(c.Path("priv/lock/storage-local"), 0o700); err != nil {
		t.Fatal(err)
	}
	again, err := c.Lock(ctx, "storage-local", file.LockOptions{Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

func TestLockDomainByMany(t *testing.T) {
	c := world(t, nil)
	var wg sync.WaitGroup
	var inside, n atomic.Int32
	for range 20 {
		wg.Go(func() {
			if err := c.WithLock(t.Context(), "x", file.LockOptions{Patience: 20 * time.Second}, func(context.Context) error {
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				inside.Add(-1)
				n.Add(1)
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	if wg.Wait(); n.Load() != 20 {
		t.Errorf("%d of 20", n.Load())
	}
}

func TestDatacenter(t *testing.T) {
	var warnings []string
	d := cluster.ParseDatacenter([]byte("#hello%3A\nkeyboard: klingon\nmac_prefix: BC:24:11\nnosuch: 1\nmax_workers: many\nnext-id: lower=200\nmigration: insecure,network=10.0.0.0/8\n"), func(s string) { warnings = append(warnings, s) })
	want := []string{
		"parse error in '/etc/pve/datacenter.cfg' - 'keyboard': value 'klingon' does not have a value in the enumeration 'de, de-ch, da, en-gb, en-us, es, fi, fr, fr-be, fr-ca, fr-ch, hu, is, it, ja, lt, mk, nl, no, pl, pt, pt-br, sv, sl, tr'",
		"parse error in '/etc/pve/datacenter.cfg' - 'nosuch': property is not defined in schema and the schema does not allow additional properties",
		"parse error in '/etc/pve/datacenter.cfg' - 'max_workers': type check ('integer') failed - got 'many'",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if *d.MACPrefix != "BC:24:11" || *d.NextID.Lower != 200 || d.Migration.Type != "insecure" || *d.Description != "hello:\n" {
		t.Errorf("%+v", d)
	}
}

func FuzzDatacenter(f *testing.F) {
	f.Add("next-id: lower=1\n#x\nbwlimit: default=1\ncrs: ha=static\n")
	f.Fuzz(func(_ *testing.T, text string) { cluster.ParseDatacenter([]byte(text), func(string) {}) })
}

func BenchmarkGuests(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			files := map[string]string{}
			for i := range n {
				files[fmt.Sprintf("etc/pve/nodes/pve1/qemu-server/%d.conf", 100+i)] = ""
			}
			c := world(b, files)
			for b.Loop() {
				if _, err := c.Guests(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
