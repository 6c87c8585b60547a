package glusterfs_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/glusterfs"
)

func pool(t *testing.T, options string) storage.Pool {
	t.Helper()
	s := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{glusterfs.Type()},
		Config: func(context.Context) (string, error) {
			return "glusterfs: gl\n\tpath /mnt/pve/gl\n\tvolume gv0\n" + options, nil
		},
	})
	p, err := s.Pool(t.Context(), "gl")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPath: images are reached at the servers, files through the mount.
func TestPath(t *testing.T) {
	for _, c := range []struct{ name, options, volume, want string }{
		{"local", "", "100/vm-100-disk-0.raw", "gluster://localhost/gv0/images/100/vm-100-disk-0.raw"},
		{"server", "\tserver 10.0.0.1\n\tserver2 10.0.0.2\n", "100/vm-100-disk-0.qcow2", "gluster://10.0.0.1/gv0/images/100/vm-100-disk-0.qcow2"},
		{"transport", "\tserver nas\n\ttransport rdma\n", "9000/base-9000-disk-0.raw/100/vm-100-disk-0.qcow2", "gluster+rdma://nas/gv0/images/100/vm-100-disk-0.qcow2"},
		{"IPv6", "\tserver fe80::1\n", "100/vm-100-disk-0.raw", "gluster://[fe80::1]/gv0/images/100/vm-100-disk-0.raw"},
		{"disc", "\tserver nas\n", "iso/a.iso", "/mnt/pve/gl/template/iso/a.iso"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := pool(t, c.options).Path(c.volume, ""); err != nil || got != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
	if _, err := pool(t, "").Path("100/vm-100-disk-0.raw", "snap"); err == nil || err.Error() != "can't snapshot this image format" {
		t.Errorf("snapshot of raw: %v", err)
	}
	if got, err := pool(t, "").Path("100/vm-100-disk-0.qcow2", "snap"); err != nil || got != "gluster://localhost/gv0/images/100/vm-100-disk-0.qcow2" {
		t.Errorf("snapshot: %s, %v", got, err)
	}
}

// TestBlockdev: QEMU is told of all servers.
func TestBlockdev(t *testing.T) {
	for _, c := range []struct {
		name, options, volume string
		want                  map[string]any
	}{
		{"two servers", "\tserver a\n\tserver2 b\n", "100/vm-100-disk-0.raw", map[string]any{
			"driver": "gluster", "volume": "gv0", "path": "images/100/vm-100-disk-0.raw", "server": []any{
				map[string]any{"type": "inet", "host": "a", "port": "24007"}, map[string]any{"type": "inet", "host": "b", "port": "24007"},
			},
		}},
		{"socket", "\tserver a\n\ttransport unix\n", "100/vm-100-disk-0.raw", map[string]any{
			"driver": "gluster", "volume": "gv0", "path": "images/100/vm-100-disk-0.raw", "server": []any{map[string]any{"type": "unix", "path": "a"}},
		}},
		{"disc", "", "iso/a.iso", map[string]any{"driver": "file", "filename": "/mnt/pve/gl/template/iso/a.iso", "locking": "off"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := pool(t, c.options).(storage.Attacher).Blockdev(c.volume)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// TestImage: qemu-img goes through the mount, where opening and closing is quick.
func TestImage(t *testing.T) {
	got, err := pool(t, "\tserver a\n").(storage.Imager).Image(t.Context(), "100/vm-100-disk-0.qcow2", "snap", true)
	want := storage.Image{Path: "/mnt/pve/gl/images/100/vm-100-disk-0.qcow2", Format: "qcow2", Snapshot: "snap", Cache: "writethrough"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}
