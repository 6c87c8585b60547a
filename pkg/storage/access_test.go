package storage_test

import (
	"fmt"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

var _ storage.User = access.Subject{}

func TestConformanceVolumeAccess(t *testing.T) {
	var suite struct {
		Common struct{ Files map[string]string }
		Cases  []struct {
			Name  string
			Input struct {
				User, Volid string
				VMID        id.VM `json:"vmid,string"`
				Type        storage.Content
			}
			Expect struct{ Allowed bool }
		}
	}
	conformance.Load(t, "cluster/storage-volume-access", &suite)
	s, _ := service(t, suite.Common.Files["storage.cfg"])
	p := access.Parse(suite.Common.Files["user.cfg"]).Policy()
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			in := c.Input
			if err := s.CheckAccess(t.Context(), p.As(in.User), in.Volid, in.VMID, in.Type); (err == nil) != c.Expect.Allowed {
				t.Errorf("allowed is %v, want %v (%v)", err == nil, c.Expect.Allowed, err)
			}
		})
	}
}

func TestCheckAccessTexts(t *testing.T) {
	s, _ := service(t, lab)
	p := access.Parse(`
user:ann@pve:1
user:bob@pve:1
acl:1:/storage/fast:ann@pve:PVEDatastoreUser
acl:1:/storage/isos:ann@pve:PVEDatastoreUser
`).Policy()
	for _, c := range []struct {
		user, volume string
		guest        id.VM
		content      storage.Content
		want         string
	}{
		{"root@pam", "/etc/passwd", 0, "", "<nil>"},
		{"root@pam!token", "/etc/passwd", 0, "", "Only root can pass arbitrary filesystem paths."},
		{"root@pam", "isos:iso/a.iso", 0, storage.Images, "unable to use volume isos:iso/a.iso - content type needs to be 'images'"},
		{"root@pam", "isos:a/b/c/d", 0, "", "unable to parse directory volume name 'a/b/c/d'"},
		{"root@pam", "nosuch:iso/a.iso", 0, "", "storage 'nosuch' does not exist"},
		{"ann@pve", "isos:iso/a.iso", 0, storage.ISO, "<nil>"},
		{"bob@pve", "isos:iso/a.iso", 0, storage.ISO, "403 Permission check failed (/storage/isos, Datastore.AllocateSpace|Datastore.Audit)"},
		{"ann@pve", "fast:100/vm-100-disk-0.raw", 0, "", "403 Permission check failed (/vms/100, VM.Config.Disk)"},
		{"bob@pve", "fast:100/vm-100-disk-0.raw", 0, "", "403 Permission check failed (/storage/fast, Datastore.Audit)"},
		{"bob@pve", "fast:100/vm-100-disk-0.raw", 100, storage.Rootdir, "<nil>"},
		{"bob@pve", "fast:100/vm-100-disk-0.raw", 101, "", "403 Permission check failed (/storage/fast, Datastore.Audit)"},
		{"ann@pve", "fast:backup/vzdump-lxc-100-2025_07_29-13_00_55.tar", 0, "", "403 Permission check failed (/vms/100, VM.Backup)"},
		{"ann@pve", "fast:snippets/a.yaml", 0, "", "missing privileges to access fast:snippets/a.yaml"},
	} {
		if got := fmt.Sprint(s.CheckAccess(t.Context(), p.As(c.user), c.volume, c.guest, c.content)); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.user, c.volume, got, c.want)
		}
	}
}
