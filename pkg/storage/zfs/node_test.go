package zfs_test

import (
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

	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
	"github.com/virtsmith/virtsmith/pkg/storage/zfs"
)

const (
	address = "127.0.0.1"
	target  = "iqn.2003-01.org.example:vs"
)

// command runs a program of the test itself.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", run.Quote(append([]string{name}, args...)...), err, out)
	}
	return strings.TrimSpace(string(out))
}

// patiently runs a program until it succeeds.
func patiently(t testing.TB, name string, args ...string) {
	t.Helper()
	var out []byte
	var err error
	for range 100 {
		if out, err = exec.Command(name, args...).CombinedOutput(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%s: %v: %s", run.Quote(append([]string{name}, args...)...), err, out)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A remote is the node itself, as a server with ZFS, LIO and sshd.
type remote struct {
	sshd *testnode.Server
	key  string // the file of a key that is let in
}

// newServer makes the node a server with ZFS. Slow as it is, ssh logs in once and
// everything goes through that.
func newServer(t testing.TB) *remote {
	t.Helper()
	testnode.Need(t, "zfs")
	device := testnode.Disk(t, 1)
	command(t, "zpool", "create", "-f", "vsnas", device)
	t.Cleanup(func() { patiently(t, "zpool", "destroy", "-f", "vsnas") })

	dir := t.TempDir()
	r := &remote{key: filepath.Join(dir, "key")}
	command(t, "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", r.key)
	command(t, "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", filepath.Join(dir, "host"))
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(r.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sshd"), fmt.Sprintf("Port 22\nListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/allowed\n"+
		"StrictModes no\nUsePAM no\nUseDNS no\nMaxSessions 200\nMaxStartups 200\nPidFile none\n", address, dir, dir))
	write(t, filepath.Join(dir, "allowed"), string(public))
	write(t, "/root/.ssh/known_hosts", address+" "+string(host))
	write(t, "/root/.ssh/config", "Host "+address+"\n ControlPath /run/vs-ssh\n")
	t.Cleanup(func() { os.RemoveAll("/root/.ssh") })
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	r.sshd = testnode.Start(t, 22, "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "sshd"))
	testnode.Start(t, 0, "ssh", "-N", "-M", "-i", r.key, "root@"+address)
	t.Cleanup(func() { os.Remove("/run/vs-ssh") })
	for range 600 {
		if _, err := os.Lstat("/run/vs-ssh"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return r
}

// newRemote is newServer with a target of LIO.
func newRemote(t testing.TB) *remote {
	t.Helper()
	r := newServer(t)
	testnode.Need(t, "lio")
	_ = exec.Command("mount", "-t", "configfs", "configfs", "/sys/kernel/config").Run() // it may be
	os.RemoveAll("/etc/rtslib-fb-target/saveconfig.json")
	command(t, "targetcli", "/iscsi create "+target)
	t.Cleanup(func() { command(t, "targetcli", "clearconfig confirm=true") })
	command(t, "targetcli", "/iscsi/"+target+"/tpg1 set attribute authentication=0 demo_mode_write_protect=0 generate_node_acls=1 cache_dynamic_acls=1")
	command(t, "targetcli", "saveconfig")
	return r
}

func (r *remote) section(dataset string) []string {
	return []string{"portal " + address, "target " + target, "pool " + dataset, "blocksize 8k", "iscsiprovider LIO", "lio_tpg tpg1", "sparse 1"}
}

// patientType is the type for a machine on which a program takes ten seconds to start.
func patientType() storage.Type {
	return zfs.TypeWith("/usr/bin/ssh", "22", 2*time.Minute, 10*time.Minute)
}

// TestContract runs everything over ssh against LIO. Each change takes several starts of
// targetcli, so there are few rounds of each.
func TestContractLIO(t *testing.T) {
	if testnode.Inside() && os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes many minutes: set VIRTSMITH_TEST_ALL")
	}
	r := newRemote(t)
	t.Setenv("VIRTSMITH_TEST_ALL", "")
	n := 0
	storagetest.Run(t, storagetest.Options{
		Type: patientType(), Slow: true,
		Section: func(t *testing.T) []string {
			n++
			dataset := fmt.Sprintf("vsnas/t%d", n)
			command(t, "zfs", "create", dataset)
			t.Cleanup(func() {
				drop(t, fmt.Sprintf("vsnas-t%d-", n))
				patiently(t, "zfs", "destroy", "-R", dataset)
			})
			return r.section(dataset)
		},
		Small: func(t *testing.T) []string {
			path := filepath.Join(t.TempDir(), "small")
			command(t, "truncate", "-s", "64M", path)
			command(t, "zpool", "create", "-f", "vsnassmall", path)
			t.Cleanup(func() {
				drop(t, "vsnassmall-")
				patiently(t, "zpool", "destroy", "-f", "vsnassmall")
			})
			return r.section("vsnassmall")
		},
	})
}

// drop deletes what a test has left of storage objects, as it may: they hold disks.
func drop(t testing.TB, prefix string) {
	list, err := filepath.Glob("/sys/kernel/config/target/core/iblock_*/" + prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return
	}
	var lines strings.Builder // for one targetcli: it takes long to start
	for _, path := range list {
		lines.WriteString("/backstores/block delete " + filepath.Base(path) + "\n")
	}
	targetcli := exec.Command("targetcli")
	targetcli.Stdin = strings.NewReader(lines.String() + "saveconfig\nexit\n")
	if out, err := targetcli.CombinedOutput(); err != nil {
		t.Errorf("targetcli: %v: %s", err, out)
	}
}

// serve returns a service with one storage on the server, whose key is where it belongs.
func (r *remote) serve(t testing.TB, typ storage.Type, dataset string) *storage.Service {
	t.Helper()
	root := t.TempDir()
	key, err := os.ReadFile(r.key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/pve/priv/zfs/"+address+"_id_rsa"), string(key))
	cfg := "zfs: nas\n\t" + strings.Join(r.section(dataset), "\n\t") + "\n"
	return storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: []storage.Type{typ}, QEMUImg: "qemu-img",
		Config:  func(context.Context) (string, error) { return cfg, nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
	})
}

// TestLIO takes one disk through its life: made, written over iSCSI, put back, grown,
// removed.
func TestLIO(t *testing.T) {
	r := newRemote(t)
	command(t, "zfs", "create", "vsnas/vm")
	s := r.serve(t, patientType(), "vsnas/vm")
	v, err := s.Alloc(t.Context(), "nas", storage.Alloc{Guest: 100, Format: "raw", Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Path(t.Context(), v, "")
	if want := "iscsi://" + address + "/" + target + "/0"; err != nil || path != want {
		t.Fatalf("path %s, %v, want %s", path, err, want)
	}
	pattern := filepath.Join(t.TempDir(), "pattern")
	write(t, pattern, strings.Repeat("0123456789abcdef", 1<<16))
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	same := func(want bool) {
		t.Helper()
		err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", path, pattern).Run()
		if (err == nil) != want {
			t.Errorf("compare: %v, want the same: %v", err, want)
		}
	}
	ok(s.Convert(t.Context(), pattern, v.String(), storage.ConvertOptions{}))
	same(true)
	ok(s.Snapshot(t.Context(), v, "one"))
	command(t, "qemu-io", "-f", "raw", "-c", "write -P 7 0 64k", path)
	same(false)
	ok(s.Rollback(t.Context(), v, "one"))
	if path, err = s.Path(t.Context(), v, ""); err != nil {
		t.Fatal(err)
	}
	same(true)
	ok(s.Resize(t.Context(), v, 8<<20, false))
	if out := command(t, "qemu-img", "info", path); !strings.Contains(out, "8 MiB") {
		t.Errorf("after resizing: %s", out)
	}

	base, err := s.CreateBase(t.Context(), v)
	ok(err)
	clone, err := s.Clone(t.Context(), base, 101, "")
	ok(err)
	if clone.Name != "base-100-disk-0/vm-101-disk-0" {
		t.Errorf("the clone is %s", clone)
	}
	if path, err = s.Path(t.Context(), clone, ""); err != nil {
		t.Fatal(err)
	}
	same(true)
	if err := s.Free(t.Context(), base); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("removing the base: %v", err)
	}
	ok(s.Free(t.Context(), clone))

	// A disk that was half made: its dataset is there and no LUN. It can be removed.
	command(t, "zfs", "create", "-V", "4m", "vsnas/vm/vm-102-disk-0")
	half := v
	half.Name = "vm-102-disk-0"
	if _, err := s.Path(t.Context(), half, ""); err == nil || !strings.Contains(err.Error(), "Could not find lu_name for zvol vm-102-disk-0") {
		t.Errorf("a disk without a LUN: %v", err)
	}
	ok(s.Free(t.Context(), half))

	ok(s.Free(t.Context(), base))
}

// TestDead: a server that hangs, or is gone, is told of in bounded time.
func TestDead(t *testing.T) {
	r := newServer(t)
	s := r.serve(t, zfs.TypeWith("/usr/bin/ssh", "22", 2*time.Second, 2*time.Second), "vsnas")
	bounded := func(what string, words ...string) {
		t.Helper()
		began := time.Now()
		_, err := s.Status(t.Context(), "nas")
		if err == nil || !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(err.Error(), w) }) || time.Since(began) > time.Minute {
			t.Errorf("a server that %s: %v after %s, want %q", what, err, time.Since(began), words)
		}
	}
	write(t, "/root/.ssh/config", "") // each asks anew
	r.sshd.Freeze()
	bounded("stands still", "no answer in 2s")
	r.sshd.Thaw()
	restore := testnode.Drop(t, 22)
	bounded("hears nothing", "no answer in 2s", "i/o timeout")
	restore()
	r.sshd.Kill()
	bounded("is gone", "storage 'nas' is not online: connect to 127.0.0.1:22: ")
}

// TestStranger: a server whose key is not known is not talked to, and nobody is asked.
func TestStranger(t *testing.T) {
	r := newServer(t)
	// The connection that is there may yet write down whom it has met.
	write(t, "/root/.ssh/config", "Host "+address+"\n UserKnownHostsFile "+filepath.Join(t.TempDir(), "nobody")+"\n")
	_, err := r.serve(t, patientType(), "vsnas").Status(t.Context(), "nas")
	if err == nil || !strings.Contains(err.Error(), "server 127.0.0.1: ") || !strings.Contains(err.Error(), "Host key verification failed") {
		t.Errorf("an unknown server: %v", err)
	}
}
