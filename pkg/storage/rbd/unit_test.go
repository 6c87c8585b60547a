package rbd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		want storage.Name
		bad  bool
	}{
		{"vm-100-disk-0", storage.Name{Content: storage.Images, File: "vm-100-disk-0", Guest: 100, Format: "raw"}, false},
		{"vm-100-cloudinit", storage.Name{Content: storage.Images, File: "vm-100-cloudinit", Guest: 100, Format: "raw"}, false},
		{"base-100-disk-0", storage.Name{Content: storage.Images, File: "base-100-disk-0", Guest: 100, IsBase: true, Format: "raw"}, false},
		{
			"base-100-disk-0/vm-101-disk-0",
			storage.Name{Content: storage.Images, File: "vm-101-disk-0", Guest: 101, Base: "base-100-disk-0", BaseGuest: 100, Format: "raw"}, false,
		},
		{
			"base-100-disk-0/base-101-disk-0",
			storage.Name{Content: storage.Images, File: "base-101-disk-0", Guest: 101, Base: "base-100-disk-0", BaseGuest: 100, IsBase: true, Format: "raw"}, false,
		},
		{"vm-100", storage.Name{}, true},
		{"vm-0100-disk-0", storage.Name{}, true},
		{"vm-100-disk-0@snap", storage.Name{}, true},
		{"vm-100-disk-0:conf=/x", storage.Name{}, true},
		{"vm-101-disk-0/vm-100-disk-0", storage.Name{}, true},
		{"other-100-disk-0", storage.Name{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.name)
			if diff := cmp.Diff(c.want, got); diff != "" && !c.bad || (err != nil) != c.bad {
				t.Errorf("%v\n%s", err, diff)
			}
			if err == nil && volume(got) != c.name {
				t.Errorf("became %s", volume(got))
			}
		})
	}
}

// lab is a pool of a node with the given files below its root.
func lab(t *testing.T, c Config, r run.Runner, files map[string]string) (*pool, string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		text = strings.ReplaceAll(text, "ROOT", root)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	opened, err := open(c, storage.Env{
		ID: "it", Type: "rbd", Root: root, Runner: r, Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
		Lock: func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := opened.(*pool)
	p.sys, p.dev = filepath.Join(root, "sys"), filepath.Join(root, "dev")
	return p, root
}

const someKey = "[client.admin]\n\tkey = AQAAAA==\n"

func TestPath(t *testing.T) {
	elsewhere := ceph.Options{MonHost: new("192.0.2.1 192.0.2.2:6789,::1"), Username: new("u")}
	for _, c := range []struct {
		name   string
		config Config
		files  map[string]string
		snap   string
		want   string
		node   map[string]any
	}{
		{
			"managed", Config{}, map[string]string{"etc/pve/ceph.conf": "", "etc/pve/priv/ceph/it.keyring": someKey}, "",
			"rbd:rbd/vm-100-disk-0:conf=ROOT/etc/pve/ceph.conf:id=admin:keyring=ROOT/etc/pve/priv/ceph/it.keyring",
			map[string]any{"driver": "rbd", "pool": "rbd", "image": "vm-100-disk-0", "conf": "ROOT/etc/pve/ceph.conf", "user": "admin"},
		},
		{
			"elsewhere", Config{Options: elsewhere, Pool: new("vm"), Namespace: new("ns")}, map[string]string{"etc/pve/priv/ceph/it.keyring": someKey}, "",
			`rbd:vm/ns/vm-100-disk-0:mon_host=192.0.2.1;192.0.2.2\:6789;[\:\:1]:auth_supported=cephx:id=u:keyring=ROOT/etc/pve/priv/ceph/it.keyring`,
			map[string]any{
				"driver": "rbd", "pool": "vm", "namespace": "ns", "image": "vm-100-disk-0", "user": "u", "auth-client-required": []any{"cephx"},
				"server": []any{
					map[string]any{"host": "192.0.2.1", "port": "3300"}, map[string]any{"host": "192.0.2.2", "port": "6789"}, map[string]any{"host": "::1", "port": "3300"},
				},
			},
		},
		{
			"snapshot without a key", Config{Options: ceph.Options{MonHost: new("192.0.2.1")}}, map[string]string{"etc/pve/priv/ceph/it.conf": ""}, "one",
			`rbd:rbd/vm-100-disk-0@one:conf=ROOT/etc/pve/priv/ceph/it.conf:mon_host=192.0.2.1:auth_supported=none`,
			map[string]any{
				"driver": "rbd", "pool": "rbd", "image": "vm-100-disk-0", "conf": "ROOT/etc/pve/priv/ceph/it.conf", "auth-client-required": []any{"none"},
				"server": []any{map[string]any{"host": "192.0.2.1", "port": "3300"}},
			},
		},
		{
			"kernel", Config{KRBD: new(true), Namespace: new("ns")}, map[string]string{"etc/pve/ceph.conf": ""}, "one",
			"ROOT/dev/rbd/rbd/ns/vm-100-disk-0@one", map[string]any{"driver": "host_device", "filename": "ROOT/dev/rbd/rbd/ns/vm-100-disk-0"},
		},
		{
			"kernel with upstream's rules", Config{KRBD: new(true)},
			map[string]string{"etc/pve/ceph.conf": "[global]\nfsid = f-s-id\n", "dev/rbd-pve/f-s-id/rbd/vm-100-disk-0": ""}, "",
			"ROOT/dev/rbd-pve/f-s-id/rbd/vm-100-disk-0", map[string]any{"driver": "host_device", "filename": "ROOT/dev/rbd-pve/f-s-id/rbd/vm-100-disk-0"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, root := lab(t, c.config, &run.Fake{}, c.files)
			got, err := p.Path("vm-100-disk-0", c.snap)
			if diff := cmp.Diff(c.want, strings.ReplaceAll(got, root, "ROOT")); diff != "" || err != nil {
				t.Error(err, diff)
			}
			node, err := p.Blockdev("vm-100-disk-0")
			for key, value := range node {
				if text, ok := value.(string); ok {
					node[key] = strings.ReplaceAll(text, root, "ROOT")
				}
			}
			if diff := cmp.Diff(c.node, node); diff != "" || err != nil {
				t.Error(err, diff)
			}
		})
	}
}

// TestConfiguration: what upstream writes for a cluster elsewhere.
func TestConfiguration(t *testing.T) {
	p, root := lab(t, Config{Options: ceph.Options{MonHost: new("192.0.2.1")}}, &run.Fake{}, map[string]string{"etc/pve/priv/ceph/it.keyring": someKey})
	for range 2 {
		if err := p.Activate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "etc/pve/priv/ceph/it.conf"))
	if want := "[global]\n\tkeyring = " + root + "/etc/pve/priv/ceph/it.keyring\n\n"; string(text) != want || err != nil {
		t.Errorf("%v: %q", err, text)
	}
	if err := p.Removed(t.Context()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(root, "etc/pve/priv/ceph")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestKeyThatIsThere: a key that somebody has put there is not taken for one of ours, nor
// removed.
func TestKeyThatIsThere(t *testing.T) {
	p, root := lab(t, Config{}, &run.Fake{}, map[string]string{"etc/pve/priv/ceph/it.keyring": someKey, "etc/pve/priv/ceph.client.admin.keyring": someKey})
	err := p.Added(t.Context(), nil)
	if err == nil || err.Error() != "ceph authx keyring file for storage 'it' already exists!" {
		t.Errorf("got %v", err)
	}
	if err := p.Removed(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/pve/priv/ceph/it.keyring")); err != nil {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	out := `{"pools":[{"name":"other","stats":{"stored":1,"max_avail":2}},
		{"name":"plain","stats":{"stored":100,"bytes_used":300,"max_avail":900,"quota_bytes":0}},
		{"name":"old","stats":{"bytes_used":300,"max_avail":700}},
		{"name":"quota","stats":{"stored":100,"max_avail":900,"quota_bytes":400}},
		{"name":"over","stats":{"stored":500,"max_avail":900,"quota_bytes":400}}]}`
	for pool, want := range map[string]storage.Status{
		"plain": {Total: 1000, Used: 100, Available: 900},
		"old":   {Total: 1000, Used: 300, Available: 700},
		"quota": {Total: 400, Used: 100, Available: 300},
		"over":  {Total: 500, Used: 500, Available: 0},
	} {
		if got, err := usage([]byte(out), pool); got != want || err != nil {
			t.Errorf("%s: %+v, %v", pool, got, err)
		}
	}
	if _, err := usage([]byte(out), "none"); err == nil || err.Error() != "could not get usage stats for pool 'none'" {
		t.Error(err)
	}
}

// TestKernel: an image is mapped once, found by what the kernel tells of its devices, and
// unmapped with it.
func TestKernel(t *testing.T) {
	var ran []string
	var sys string
	device := func(number, image string) {
		dir := filepath.Join(sys, "bus/rbd/devices", number)
		_ = os.MkdirAll(dir, 0o755)
		for name, text := range map[string]string{"pool": "rbd", "pool_ns": "ns", "name": image, "current_snap": "-", "cluster_fsid": "f-s-id"} {
			_ = os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644)
		}
	}
	r := runner(func(c run.Cmd) error {
		line := c.String()
		_, line, _ = strings.Cut(line, "rados_osd_op_timeout ")
		_, line, _ = strings.Cut(line, " ")
		ran = append(ran, line)
		switch {
		case strings.HasPrefix(line, "info"):
			_, _ = c.Stdout.Write([]byte(`{"name":"vm-100-disk-0","size":1,"format":2,"features":["layering"]}`))
		case strings.HasPrefix(line, "map"):
			device("3", "vm-100-disk-0")
		case strings.HasPrefix(line, "unmap"):
			return os.RemoveAll(filepath.Join(sys, "bus/rbd/devices/3"))
		}
		return nil
	})
	p, root := lab(t, Config{KRBD: new(true), Namespace: new("ns")}, r, map[string]string{"etc/pve/ceph.conf": "[global]\nfsid = f-s-id\n"})
	sys = p.sys
	device("1", "vm-101-disk-0")
	for range 2 {
		if err := p.ActivateVolume(t.Context(), "vm-100-disk-0", ""); err != nil {
			t.Fatal(err)
		}
	}
	path, err := p.Path("vm-100-disk-0", "")
	if to, _ := os.Readlink(path); to != p.dev+"/rbd3" || err != nil {
		t.Errorf("%s is %s, %v", path, to, err)
	}
	for range 2 {
		if err := p.DeactivateVolume(t.Context(), "vm-100-disk-0", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the link is left")
	}
	want := []string{
		"info vm-100-disk-0 --format json", "feature enable vm-100-disk-0 exclusive-lock object-map fast-diff", "map rbd/ns/vm-100-disk-0",
		"unmap " + root + "/dev/rbd3",
	}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Error(diff)
	}
}

type runner func(run.Cmd) error

func (r runner) Run(_ context.Context, c run.Cmd) error { return r(c) }

// TestConformanceRBDPath: the address of an image is what upstream's is.
func TestConformanceRBDPath(t *testing.T) {
	var suite struct {
		Cases []struct{ Name, Stdout string }
	}
	conformance.Load(t, "cli/cli-pvesm", &suite)
	for _, c := range suite.Cases {
		if c.Name != "types: pvesm path ceph-pool:vm-100-disk-0" {
			continue
		}
		config := Config{Pool: new("vm"), Options: ceph.Options{MonHost: new("192.0.2.1 192.0.2.2"), Username: new("admin")}}
		p, root := lab(t, config, &run.Fake{}, map[string]string{"etc/pve/priv/ceph/ceph-pool.keyring": someKey})
		p.Access = ceph.New(storage.Env{ID: id.Storage("ceph-pool"), Root: root, Secrets: p.Secrets}, ceph.RBD, config.Options)
		got, err := p.Path("vm-100-disk-0", "")
		if diff := cmp.Diff(c.Stdout, strings.ReplaceAll(got, root, "${ROOT}")+"\n"); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
}

// FuzzParseName: a name that is read is written as it was.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"vm-100-disk-0", "base-100-x/vm-101-y", "vm-1-a/b", "-100-x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := parse(name)
		if err == nil && (volume(n) != name || strings.ContainsAny(n.File, "/@: \n")) {
			t.Errorf("%q is %+v", name, n)
		}
	})
}
