package testnode

import "time"

// Package is a package whose tests are run in a node.
type Package struct {
	Path string        // below the project's root
	Run  string        // which tests, as -run; all when empty
	All  string        // which with VIRTSMITH_TEST_ALL=1, if not the same
	ZFS  bool          // has nothing to do in a node without ZFS
	Time time.Duration // what its tests may take with VIRTSMITH_TEST_ALL=1; ninety seconds when zero, and without

	// Guest says that they boot the test guest, which cannot be built in a node.
	Guest bool

	// LXC says that they are linked with its library, where this machine has that, and want the
	// template of Debian, which cannot be made in a node.
	LXC bool

	// Systemd has them run in a node of their own, whose process 1 is systemd.
	Systemd bool
}

// Packages are all of them, in the order they run: those that see most of the whole come first, as
// an ordinary run has no time for all.
func Packages() []Package {
	return []Package{
		{Path: "pkg/internal/testnode", Run: "^TestNode"},
		{Path: "pkg/host", Run: "^TestNode"},
		{Path: "pkg/internal/nodeboot", Guest: true, Time: time.Hour},
		{Path: "pkg/cli/pct", Run: "^TestNode", All: "^TestNode|^Test(Power|Shutdown|StartFaults|MonitorKilled|Image|Console|Create)$", LXC: true, Time: 45 * time.Minute},
		{Path: "pkg/storage/lvmthin", Time: 15 * time.Minute},
		{Path: "pkg/storage/nfs", Time: 15 * time.Minute},
		{Path: "pkg/storage/cifs", Time: 15 * time.Minute},
		{Path: "pkg/storage/iscsi", Time: 25 * time.Minute},
		{Path: "pkg/storage/lvm", Time: 45 * time.Minute},
		{Path: "pkg/storage/btrfs"},
		{Path: "pkg/container/volumes", Run: "^TestResize"},
		{Path: "pkg/storage/rbd", Run: "^TestKernelNode|^TestConformance", Time: 45 * time.Minute},
		{Path: "pkg/storage/cephfs", Run: "^TestKernelNode", Time: 30 * time.Minute},
		{Path: "pkg/storage/all", Run: "^TestNode", Time: time.Hour},
		{Path: "pkg/cli/pct", Run: "^TestSystemd", LXC: true, Systemd: true, Time: 10 * time.Minute},
		{Path: "pkg/storage/zfspool", ZFS: true, Time: 15 * time.Minute},
		{Path: "pkg/storage/zfs", ZFS: true, Time: time.Hour},
	}
}
