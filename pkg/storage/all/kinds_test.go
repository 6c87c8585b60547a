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
	given func(t *testing.T, content string) id.Volume
	fast  bool // there is time for all pairs of these
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
	if has(t, "Gluster", "glusterd", "mount.glusterfs", "unshare", "ip") {
		testgluster.Start(t, map[string]string{"gv0": "800m"})
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
	if has(t, "iSCSI", "tgtd", "tgtadm", "iscsi-ls", "iscsi-readcapacity16") {
		list = append(list, portal(t))
	}
	return append(list,
		folder(t, "xfs", "dir", every, 320, "mkfs.xfs", "-q"),
		folder(t, "btrfs", "btrfs", every, 256, "mkfs.btrfs", "-q"),
		folder(t, "other", "btrfs", []string{"raw", "subvol"}, 256, "mkfs.btrfs", "-q"),
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
		given: func(t *testing.T, content string) id.Volume {
			st, err := os.Stat(content)
			if err != nil {
				t.Fatal(err)
			}
			lun, file := target.LUN(st.Size())
			put(t, content, file)
			return id.Volume{Storage: "san", Name: fmt.Sprintf("lun%d", lun)}
		},
	}
}

// put fills a file with the content of another.
func put(t *testing.T, content, file string) {
	t.Helper()
	data, err := os.ReadFile(content)
	if err = cmp.Or(err, os.WriteFile(file, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// noded are those that a node with Debian's kernel has.
func noded(t *testing.T) []kind {
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
		{name: "thin", of: "lvmthin", options: []string{"vgname " + lvmtest.VG, "thinpool data"}, formats: []string{"raw"}, blocks: true},
		{
			name: "nfs", of: "nfs", formats: files,
			options: []string{"server 127.0.0.1", "export " + export, "path " + t.TempDir(), "options vers=4.2"},
		},
		{
			name: "cifs", of: "cifs", formats: files, secrets: map[string]string{"password": "geheim"},
			options: []string{"server 127.0.0.1", "share share", "username tester", "path " + t.TempDir()},
		},
	}
	if has(t, "ZFS", "zpool") {
		testnode.Need(t, "zfs")
		lvmtest.Run(t, "zpool", "create", "-f", "matrix", testnode.Disk(t, 1))
		t.Cleanup(func() { lvmtest.Run(t, "zpool", "destroy", "-f", "matrix") })
		list = append(list, kind{name: "zfs", of: "zfspool", options: []string{"pool matrix", "sparse 1"}, formats: []string{"raw", "subvol"}, blocks: true})
	}
	return list
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
