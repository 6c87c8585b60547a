package mount_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/storage/mount"
)

const table = `/dev/sda1 / ext4 rw,relatime 0 0
10.0.0.1:/export/my\040disks /mnt/pve/nas nfs4 rw,vers=4.2,addr=10.0.0.1 0 0
//nas/a\134b /mnt/pve/smb cifs rw 0 0
tmpfs /mnt/pve/nas tmpfs rw 0 0
short line
`

func TestParse(t *testing.T) {
	entries := mount.Parse(table)
	want := []mount.Entry{
		{Device: "/dev/sda1", Point: "/", Type: "ext4", Options: "rw,relatime"},
		{Device: "10.0.0.1:/export/my disks", Point: "/mnt/pve/nas", Type: "nfs4", Options: "rw,vers=4.2,addr=10.0.0.1"},
		{Device: `//nas/a\b`, Point: "/mnt/pve/smb", Type: "cifs", Options: "rw"},
		{Device: "tmpfs", Point: "/mnt/pve/nas", Type: "tmpfs", Options: "rw"},
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Error(diff)
	}
	if e, ok := mount.Find(entries, "/mnt/pve/nas"); !ok || e.Type != "tmpfs" {
		t.Errorf("on top is %+v", e)
	}
	if _, ok := mount.Find(entries, "/mnt/pve"); ok {
		t.Error("a folder above is no mount point")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(table)
	f.Fuzz(func(_ *testing.T, text string) {
		for _, e := range mount.Parse(text) {
			mount.Find(nil, e.Point)
		}
	})
}

func TestHost(t *testing.T) {
	for server, want := range map[string]string{"nas": "nas", "10.0.0.1": "10.0.0.1", "fe80::1": "[fe80::1]"} {
		if got := mount.Host(server); got != want {
			t.Errorf("%s: %s", server, got)
		}
	}
}
