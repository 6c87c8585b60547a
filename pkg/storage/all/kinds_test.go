package all_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/internal/testgluster"
	"github.com/virtsmith/virtsmith/pkg/internal/testiscsi"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

func TestMain(m *testing.M) { os.Exit(testgluster.Main(m)) }

// A kind is a storage of the matrix: a column and a row.
type kind struct {
	name    string
	of      string   // its type
	options []string // of its section
	secrets map[string]string
	formats []string
	// blocks says that volumes are devices: they may be larger than what was asked for, and
	// what lies behind that is nobody's. Their names say no format.
	blocks bool
	// given makes a volume with the content of a file, where the storage does not make any.
	given  func(m *matrix, content string) id.Volume
	behind string // the folder that the server has, if it knows better than the client what is used
	fast   bool   // there is time for all pairs of these
	brief  bool   // and for the states of these where there is little of it
}

// has tells whether there are programs, and says what is left out without them.
func has(t *testing.T, what string, programs ...string) bool {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("without %s: %v", what, err)
			return false
		}
	}
	return true
}

// folder is a kind of the file system that mkfs makes.
func folder(t *testing.T, name, of string, formats []string, mib int64, mkfs ...string) kind {
	t.Helper()
	path := filepath.Join(storagetest.Loop(t, mib, mkfs...), "volumes")
	return kind{name: name, of: of, options: []string{"path " + path}, formats: formats, fast: true}
}

// native are those that a machine can have without help.
func native(t *testing.T) []kind {
	t.Helper()
	every := []string{"raw", "qcow2", "vmdk", "subvol"}
	list := []kind{folder(t, "ext4", "dir", every, 128, "mkfs.ext4", "-q")}
	// It lasts longer than what starts it, and may be missing.
	if t.Run("Gluster", func(t *testing.T) { testgluster.Start(t, map[string]testgluster.Volume{"gv0": {Size: "800m"}}) }); testgluster.Has("gv0") {
		list = append(list, kind{
			name: "gluster", of: "glusterfs", formats: []string{"raw", "qcow2", "vmdk"},
			options: []string{"server " + testgluster.Address, "volume gv0", "path " + filepath.Join(t.TempDir(), "mnt")},
		})
	}
	if has(t, "Ceph", "ceph-mon", "ceph-osd", "rbd") {
		c := testceph.Start(t)
		list = append(list, kind{
			name: "rbd", of: "rbd", formats: []string{"raw"}, blocks: true,
			options: c.Section(), secrets: map[string]string{"keyring": c.Secret()},
		})
	}
	// It takes one format alone from the one before, which takes its time.
	list = append(list, folder(t, "other", "btrfs", []string{"raw", "subvol"}, 256, "mkfs.btrfs", "-q"))
	if has(t, "iSCSI", "tgtd", "tgtadm", "iscsi-ls", "iscsi-readcapacity16") {
		list = append(list, portal(t))
	}
	return append(list,
		folder(t, "xfs", "dir", every, 320, "mkfs.xfs", "-q"),
		folder(t, "btrfs", "btrfs", every, 256, "mkfs.btrfs", "-q"),
	)
}

// portal is a kind of the LUNs of a target that QEMU speaks to.
func portal(t *testing.T) kind {
	t.Helper()
	s := testiscsi.New(t)
	target := s.Target()
	return kind{
		name: "san", of: "iscsidirect", formats: []string{"raw"}, blocks: true,
		options: []string{"portal " + s.Portal, "target " + target.Name},
		given: func(m *matrix, content string) id.Volume {
			st, err := os.Stat(content)
			m.ok(err)
			lun, file := target.LUN(st.Size())
			m.put(content, file)
			return id.Volume{Storage: "san", Name: fmt.Sprintf("lun%d", lun)}
		},
	}
}

// disks is a kind of the LUN of a target that the kernel speaks to.
func disks(t *testing.T, size int64) kind {
	t.Helper()
	testnode.Need(t, "iscsi")
	lun := filepath.Join(t.TempDir(), "lun")
	if err := cmp.Or(os.WriteFile(lun, nil, 0o600), os.Truncate(lun, size)); err != nil {
		t.Fatal(err)
	}
	target := testnode.Target{IQN: "iqn.2003-01.org.example:matrix", LUNs: []string{lun}}
	testnode.TGT(t, target)
	testnode.Initiator(t)
	return kind{
		name: "disks", of: "iscsi", formats: []string{"raw"}, blocks: true,
		options: []string{"portal 127.0.0.1", "target " + target.IQN, "content images"},
		given: func(m *matrix, content string) id.Volume {
			m.put(content, lun) // it is read from there, and always the same
			list, err := m.List(m.ctx, "disks", storage.Filter{Content: []storage.Content{storage.Images}})
			m.ok(err)
			if len(list) != 1 || list[0].Size != size {
				m.t.Fatalf("the target has %+v", list)
			}
			return id.Volume{Storage: "disks", Name: list[0].Name}
		},
	}
}

// put fills a file with the content of another of the same size.
func (m *matrix) put(content, file string) {
	m.t.Helper()
	data, err := os.ReadFile(content)
	m.ok(err)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	m.ok(err)
	_, err = f.Write(data)
	m.ok(cmp.Or(err, f.Close()))
}

// noded are those that a node with Debian's kernel has.
func noded(t *testing.T, size int64) []kind {
	t.Helper()
	testnode.Need(t, "nfs", "cifs")
	lvmtest.Pool(t, "", "1g")
	export, share := t.TempDir(), t.TempDir()
	for dir := share; dir != "/"; dir = filepath.Dir(dir) { // who cannot enter them has no share
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	testnode.NFS(t, export)
	testnode.Samba(t, "tester", "geheim", map[string]string{"share": share})
	files := []string{"qcow2", "raw"}
	list := []kind{
		{name: "ext4", of: "dir", options: []string{"path " + t.TempDir()}, formats: append(files, "subvol")},
		{name: "lvm", of: "lvm", options: []string{"vgname " + lvmtest.VG}, formats: []string{"raw"}, blocks: true},
		{name: "thin", of: "lvmthin", options: []string{"vgname " + lvmtest.VG, "thinpool data"}, formats: []string{"raw"}, blocks: true, brief: true},
		{
			name: "nfs", of: "nfs", formats: files, brief: true,
			options: []string{"server 127.0.0.1", "export " + export, "path " + t.TempDir(), "options vers=4.2"},
		},
		{
			name: "cifs", of: "cifs", formats: files, behind: share, secrets: map[string]string{"password": "geheim"},
			options: []string{"server 127.0.0.1", "share share", "username tester", "path " + t.TempDir()},
		},
	}
	list = append(list, disks(t, size))
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" && has(t, "Ceph", "ceph-mon", "ceph-osd", "rbd") {
		list = append(list, mapped(t))
	}
	if has(t, "ZFS", "zpool") {
		testnode.Need(t, "zfs")
		lvmtest.Run(t, "zpool", "create", "-f", "matrix", testnode.Disk(t, 1))
		t.Cleanup(func() { destroy(t, "matrix") })
		list = append(list, kind{name: "zfs", of: "zfspool", options: []string{"pool matrix", "sparse 1"}, formats: []string{"raw", "subvol"}, blocks: true})
	}
	return list
}

// mapped is a kind of the images of a Ceph that the kernel maps.
func mapped(t *testing.T) kind {
	t.Helper()
	testnode.Need(t, "rbd")
	c := testceph.Start(t)
	return kind{
		name: "krbd", of: "rbd", formats: []string{"raw"}, blocks: true,
		options: []string{"monhost " + c.Legacy, "krbd 1"}, secrets: map[string]string{"keyring": c.Secret()},
	}
}

// volume is how a volume of a guest is called on a storage of the kind.
func (k kind) volume(guest int, format string) id.Volume {
	v := id.Volume{Storage: id.Storage(k.name)}
	switch {
	case k.blocks && format == "subvol":
		v.Name = fmt.Sprintf("subvol-%d-disk-0", guest)
	case k.blocks:
		v.Name = fmt.Sprintf("vm-%d-disk-0", guest)
	case format == "subvol":
		v.Name = fmt.Sprintf("%d/subvol-%d-disk-0.subvol", guest, guest)
	default:
		v.Name = fmt.Sprintf("%d/vm-%d-disk-0.%s", guest, guest, format)
	}
	return v
}
