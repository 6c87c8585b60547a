// Package testnode runs tests inside a throw-away Debian node in a virtual
// machine, for what the kernel of the machine under the tests lacks.
//
// It has two sides. Outside, TestInNode builds the tests of the packages listed
// in packages.go, boots a node and runs each of them in it. Inside, those tests
// ask Inside, Need and Disk what they may use, and start servers with NFS,
// Samba, TGT and LIO.
package testnode

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// variable says to a test that it runs inside a node; its value is "1".
const variable = "VIRTSMITH_TEST_NODE"

// Inside reports whether the test runs inside a node: then all of it, kernel,
// disks and daemons, is the test's to use.
func Inside() bool { return os.Getenv(variable) == "1" }

// features are the kernel's abilities tests ask for, and the modules they take.
func features() map[string][]string {
	return map[string][]string{
		"device-mapper": {"dm_mod", "dm_thin_pool", "dm_snapshot", "dm_mirror", "dm_multipath"},
		"nfs":           {"nfs", "nfsv3", "nfsv4", "nfsd"},
		"cifs":          {"cifs"},
		"iscsi":         {"iscsi_tcp"},
		"lio":           {"target_core_mod", "target_core_iblock", "target_core_file", "iscsi_target_mod"},
		"zfs":           {"zfs"},
		"rbd":           {"rbd"},
		"ceph":          {"ceph"},
		"btrfs":         {"btrfs"},
		"xfs":           {"xfs"},
		"nbd":           {"nbd"},
		"loop":          {"loop"},
		"containers":    {"veth", "bridge", "8021q", "ifb", "br_netfilter", "fuse", "loop", "sch_tbf", "sch_ingress", "act_mirred", "cls_u32", "cls_matchall"},
		"quota":         {"quota_v2", "quota_tree"},
	}
}

// Need skips the test outside a node, and loads what the named feature of the
// kernel takes inside one: device-mapper, nfs, cifs, iscsi, lio, zfs, rbd,
// ceph, btrfs, xfs, nbd, loop, containers or quota.
func Need(t testing.TB, names ...string) {
	t.Helper()
	if !Inside() {
		t.Skipf("needs a node with %s: runs inside one, see pkg/internal/testnode", strings.Join(names, ", "))
	}
	for _, name := range names {
		modules, known := features()[name]
		if !known {
			t.Fatalf("no feature of a node: %s", name)
		}
		out, err := exec.Command("modprobe", append([]string{"-a"}, modules...)...).CombinedOutput()
		switch {
		case err != nil && name == "zfs":
			t.Skip("this node was built without ZFS: make test-storage has one with it")
		case err != nil:
			t.Fatalf("the node's kernel has no %s: %v: %s", name, err, out)
		}
	}
}
