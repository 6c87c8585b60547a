package zfspool_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

// TestPath: where volumes lie, and what their names say.
func TestPath(t *testing.T) {
	s := serve(t, run.NewFake(), "zfspool: tank\n\tpool rpool/data\n\nzfspool: other\n\tpool rpool\n\tmountpoint /mnt/z/\n")
	for _, c := range []struct{ volid, snap, want string }{
		{"tank:vm-100-disk-0", "", "/dev/zvol/rpool/data/vm-100-disk-0"},
		{"tank:vm-100-disk-0", "a", "/dev/zvol/rpool/data/vm-100-disk-0@a"},
		{"tank:base-9-disk-0/vm-100-disk-0", "", "/dev/zvol/rpool/data/vm-100-disk-0"},
		{"tank:subvol-100-disk-0", "", "/rpool/data/subvol-100-disk-0"},
		{"other:basevol-9-disk-0/subvol-100-disk-0", "a", "/mnt/z/subvol-100-disk-0@a"},
		{"tank:vm-100-cloudinit", "", "/dev/zvol/rpool/data/vm-100-cloudinit"},
		{"tank:vm-0100-disk-0", "", ""},
		{"tank:vm-100-disk-0/x", "", ""},
		{"tank:vm-100-disk-0@a", "", ""},
		{"tank:vm-100-a/vm-101-b", "", ""},
		{"tank:../vm-100-disk-0", "", ""},
		{"tank:100/vm-100-disk-0.raw", "", ""},
	} {
		v, err := id.ParseVolume(c.volid)
		if err != nil {
			t.Fatal(err)
		}
		path, err := s.Path(t.Context(), v, c.snap)
		if path != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %s, %v, want %s", c.volid, path, err, c.want)
		}
	}
}

// TestDefine: where a pool is mounted is found out, and what is said of it is checked.
func TestDefine(t *testing.T) {
	ask := run.Exchange{Args: []string{"zfs", "get", "-o", "value", "-Hp", "mountpoint", "tank"}, Stdout: "/mnt/tank\n", Repeat: true}
	for _, c := range []struct {
		name    string
		answer  run.Exchange
		options schema.Params
		want    string
		said    string
	}{
		{"found", ask, schema.Params{"pool": "tank"}, "mountpoint /mnt/tank", ""},
		{"given", ask, schema.Params{"pool": "tank", "mountpoint": "/mnt/tank/"}, "mountpoint /mnt/tank/", ""},
		{"wrong", ask, schema.Params{"pool": "tank", "mountpoint": "/tank"}, "mountpoint /tank", "warning for it - mountpoint: /tank does not match current mount point: /mnt/tank\n"},
		{"nowhere", run.Exchange{Args: ask.Args, Stdout: "none\n", Repeat: true}, schema.Params{"pool": "tank"}, "", ""},
		{"no pool", run.Exchange{Args: ask.Args, Exit: 1, Stderr: "cannot open 'tank': dataset does not exist\n", Repeat: true}, schema.Params{"pool": "tank"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var saved string
			s := storage.New(storage.Options{
				Root: t.TempDir(), Node: "pve1", Runner: run.NewFake(c.answer), Types: []storage.Type{zfspool.Type()},
				Config: func(context.Context) (string, error) { return saved, nil },
				Save: func(_ context.Context, text string) error {
					saved = text
					return nil
				},
			})
			c.options["disable"] = "1"
			var said strings.Builder
			if _, err := s.Define(api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said}), "it", "zfspool", c.options); err != nil {
				t.Fatal(err)
			}
			if c.want != "" && !strings.Contains(saved, "\t"+c.want+"\n") || c.want == "" && strings.Contains(saved, "mountpoint") || said.String() != c.said {
				t.Errorf("saved %q, said %q, want %q, %q", saved, &said, c.want, c.said)
			}
		})
	}
}

// TestTools: which programs are run to make volumes.
func TestTools(t *testing.T) {
	list := run.Exchange{Args: []string{"zfs", "list", "-o", "name,volsize,origin,type,refquota", "-t", "volume,filesystem", "-d1", "-Hp", "tank"}, Stdout: "tank/subvol-100-disk-0\t-\t-\tfilesystem\t0\n", Repeat: true}
	ready := []run.Exchange{
		{Args: []string{"zpool", "list", "-H", "-o", "health", "tank"}, Stdout: "ONLINE\n", Repeat: true},
		{Args: []string{"zfs", "get", "-o", "value", "-Hp", "mounted,canmount,mountpoint", "tank"}, Stdout: "yes\non\n/tank\n", Repeat: true},
		list,
	}
	fake := run.NewFake(append(ready,
		run.Exchange{Args: []string{"zfs", "create", "-o", "acltype=posixacl", "-o", "xattr=sa", "-o", "refquota=8388608k", "tank/subvol-100-disk-1"}},
		run.Exchange{Args: []string{"zfs", "create", "-s", "-b", "16k", "-V", "2048k", "tank/vm-100-disk-1"}, Exit: 1, Stderr: "cannot create 'tank/vm-100-disk-1': out of space\n"},
	)...)
	s := serve(t, fake, tank("tank")+"\tsparse 1\n\tblocksize 16k\n")
	v, err := s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "subvol", Size: 8 << 20})
	if err != nil || v != volume("subvol-100-disk-1") {
		t.Errorf("%s, %v", v, err)
	}
	_, err = s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "raw", Size: 1025})
	if want := "zfs error: cannot create 'tank/vm-100-disk-1': out of space"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for _, a := range []struct {
		storage.Alloc
		want string
	}{
		{storage.Alloc{Guest: 100, Format: "qcow2"}, "unsupported format 'qcow2'"},
		{storage.Alloc{Guest: 100, Format: "raw", File: "vm-101-disk-0"}, "illegal name 'vm-101-disk-0' - should be 'vm-100-*'"},
		{storage.Alloc{Guest: 100, Format: "raw", File: "vm-100-a/b"}, "illegal name 'vm-100-a/b' - should be 'vm-100-*'"},
		{storage.Alloc{Guest: 100, Format: "subvol", File: "vm-100-disk-0"}, "illegal name 'vm-100-disk-0' - should be 'subvol-100-*'"},
		{storage.Alloc{Guest: 100, Format: "subvol", File: "subvol-100-disk-0"}, "volume 'subvol-100-disk-0' already exists"},
	} {
		if _, err := s.Alloc(t.Context(), "tank", a.Alloc); err == nil || err.Error() != a.want {
			t.Errorf("%+v: %v, want %s", a, err, a.want)
		}
	}
	if left := fake.Left(); len(left) > 0 {
		t.Errorf("not asked: %v", left)
	}
}

func TestScan(t *testing.T) {
	fake := run.NewFake(run.Exchange{
		Args:   []string{"zfs", "list", "-t", "filesystem", "-Hp", "-o", "name,avail,used"},
		Stdout: "rpool\t100\t50\nrpool/data\t100\t20\nrpool/data/subvol-100-disk-0\t80\t1\nrpool/data/basevol-9-disk-0\t80\t1\nsubvol-1-disk-0\t5\t5\n",
	})
	found, err := zfspool.Scan(t.Context(), fake)
	want := []zfspool.Found{{Pool: "rpool", Size: 150, Free: 100}, {Pool: "rpool/data", Size: 120, Free: 100}, {Pool: "subvol-1-disk-0", Size: 10, Free: 5}}
	if diff := cmp.Diff(want, found); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestStreamErrors(t *testing.T) {
	s := serve(t, run.NewFake(run.Exchange{Args: []string{"zpool", "list", "-H", "-o", "health", "tank"}, Stdout: "SUSPENDED\n", Repeat: true}), tank("tank"))
	pool, err := s.Pool(t.Context(), "tank")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		s    storage.Stream
		want string
	}{
		{"vm-100-disk-0", storage.Stream{Format: "zfs"}, "zfspool storage can only export snapshots"},
		{"vm-100-disk-0", storage.Stream{Format: "qcow2+size"}, "volume export format qcow2+size not available for PVE::Storage::ZFSPoolPlugin"},
		{"nonsense", storage.Stream{Format: "zfs"}, "unable to parse zfs volume name 'nonsense'"},
	} {
		if err := pool.(storage.Exporter).Export(t.Context(), &strings.Builder{}, c.name, c.s); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if err := s.Activate(t.Context(), "tank"); err == nil || !strings.Contains(err.Error(), "could not activate storage 'tank', pool 'tank' is suspended") {
		t.Errorf("a suspended pool: %v", err)
	}
	if _, err := s.Info(t.Context(), volume("nonsense")); errors.Is(err, storage.ErrNotExist) || err == nil {
		t.Error(err)
	}
}
