package nodeboot

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// states returns what pvesm status says of each storage; what goes to standard error too
// is not looked at.
func states(w *World) map[string]string {
	w.Helper()
	out, err := w.Command("pvesm", "status").Output()
	if err != nil {
		w.Fatalf("pvesm status: %v\n%s", err, out)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 2 && words[0] != "Name" {
			found[words[0]] = words[2]
		}
	}
	return found
}

// TestPVESM defines a storage of each type that has a server or a kernel in the node,
// with what the scans find; makes volumes; cuts off NFS, which the others do not notice;
// and removes all of it.
func TestPVESM(t *testing.T) {
	testnode.Need(t, "device-mapper", "nfs", "cifs", "iscsi")
	w := New(t)
	lvmtest.Pool(t, "2000", "500m")
	export, share, lun := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "lun")
	lvmtest.Run(t, "truncate", "-s", "8M", lun)
	testnode.NFS(t, export)
	testnode.Samba(t, "tester", "secret", map[string]string{"data": share})
	testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: []string{lun}})
	testnode.Initiator(t)

	scans(w, export)
	for _, words := range []string{
		"lvm vg --vgname " + lvmtest.VG + " --content images",
		"lvmthin thin --vgname " + lvmtest.VG + " --thinpool data --content images",
		"nfs nas --server 127.0.0.1 --export " + export + " --content images,iso --options vers=4.2",
		"cifs smb --server 127.0.0.1 --share data --username tester --password secret --content images",
		"iscsi san --portal 127.0.0.1 --target " + iqn + " --content images",
	} {
		w.PVESM(append([]string{"add"}, strings.Fields(words)...)...)
	}
	if strings.Contains(w.Read("etc/pve/storage.cfg"), "secret") {
		t.Error("the password is in storage.cfg")
	}
	if w.Read("etc/pve/priv/storage/smb.pw") == "" {
		t.Error("the password is not where it should be")
	}
	all(w, states(w), "active")

	for storeid, name := range map[string]string{"vg": "vm-100-disk-0", "thin": "vm-100-disk-1", "nas": "vm-100-disk-0.raw", "smb": "vm-100-disk-0.qcow2"} {
		w.PVESM("alloc", storeid, "100", name, "4M")
		listed := first(t, w.PVESM("list", storeid))
		if want := storeid + ":" + name; !strings.HasSuffix(listed, name) || !strings.HasPrefix(listed, storeid+":") {
			t.Errorf("listed is %s, want %s", listed, want)
		}
		if path := strings.TrimSpace(w.PVESM("path", listed)); !strings.HasSuffix(path, name) {
			t.Errorf("%s is at %s", listed, path)
		}
		w.PVESM("free", listed)
		if left := strings.TrimSpace(w.PVESM("list", storeid)); strings.Contains(left, "\n") {
			t.Errorf("left: %s", left)
		}
	}
	if volume := first(t, w.PVESM("list", "san")); !strings.HasPrefix(volume, "san:0.0.1.") {
		t.Errorf("the LUN is %s", volume)
	}
	hangs(w)
	for _, storeid := range []string{"vg", "thin", "nas", "smb", "san"} {
		w.PVESM("remove", storeid)
	}
	if text := w.Read("etc/pve/storage.cfg"); strings.Count(text, ": ") != 1 || !strings.HasPrefix(text, "dir: local\n") {
		t.Errorf("defined are still: %s", text)
	}
	if w.Read("etc/pve/priv/storage/smb.pw") != "" {
		t.Error("the password is still there")
	}
	if left := lvmtest.Names(t); left != "data" {
		t.Errorf("left: %s", left)
	}
}

// scans sees that each scan finds what is served.
func scans(w *World, export string) {
	w.Helper()
	for _, c := range []struct{ args, want string }{
		{"nfs 127.0.0.1", export},
		{"cifs 127.0.0.1 --username tester --password secret", "data"},
		{"iscsi 127.0.0.1", iqn},
		{"lvm", lvmtest.VG},
		{"lvmthin " + lvmtest.VG, "data"},
	} {
		out := w.PVESM(append([]string{"scan"}, strings.Fields(c.args)...)...)
		if !strings.Contains("\n"+out, "\n"+c.want) {
			w.Errorf("pvesm scan %s: %q, want %s", c.args, out, c.want)
		}
	}
}

// all checks that storages are in a state.
func all(w *World, states map[string]string, state string) {
	w.Helper()
	for _, storeid := range []string{"vg", "thin", "nas", "smb", "san"} {
		if states[storeid] != state {
			w.Errorf("%s is %q, want %s", storeid, states[storeid], state)
		}
	}
}

// hangs takes the cable of NFS away: it is inactive, the others answer, and however often
// they are asked there is one process that waits.
func hangs(w *World) {
	w.Helper()
	restore := testnode.Drop(w, testnode.NFSPorts()...)
	for range 5 {
		began := time.Now()
		got := states(w)
		w.Logf("status after %s: %v", time.Since(began).Round(10*time.Millisecond), got)
		if got["nas"] != "inactive" {
			w.Errorf("the storage that hangs is %s", got["nas"])
		}
		got["nas"] = "active"
		all(w, got, "active")
		if waiting := processes(w); len(waiting) > 1 {
			w.Errorf("these wait: %q", waiting)
		}
	}
	restore()
	for deadline := time.Now().Add(4 * time.Minute); len(processes(w)) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("with the server back, these wait still: %q", processes(w))
		}
	}
	all(w, states(w), "active")
}

// processes lists those that the programs of the world have left.
func processes(w *World) (found []string) {
	w.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		w.Fatal(err)
	}
	for _, dir := range dirs {
		env, _ := os.ReadFile(dir + "/environ") // it may have ended
		if !bytes.Contains(env, []byte("VIRTSMITH_ROOT="+w.Root+"\x00")) {
			continue
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return found
}
