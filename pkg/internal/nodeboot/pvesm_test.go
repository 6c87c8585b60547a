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

// A definition is a storage as pvesm add is told of it.
type definition struct {
	storeid string
	words   string // the type, and after the name the options
	volume  string // what is made there; nothing where nothing can be
	scan    string // finds what it lies on
	found   string // how a line of the scan begins
}

// TestPVESM defines a storage of each type that has a server or a kernel in the node,
// with what the scans find; makes volumes; cuts off NFS, which the others do not notice;
// and removes all of it.
func TestPVESM(t *testing.T) {
	testnode.Need(t, "device-mapper", "nfs")
	w := New(t)
	lvmtest.Pool(t, "2000", "500m")
	export := t.TempDir()
	testnode.NFS(t, export)
	list := []definition{
		{"vg", "lvm --vgname " + lvmtest.VG, "vm-100-disk-0", "lvm", lvmtest.VG},
		{"thin", "lvmthin --vgname " + lvmtest.VG + " --thinpool data", "vm-100-disk-1", "lvmthin " + lvmtest.VG, "data"},
		{"nas", "nfs --server 127.0.0.1 --export " + export + " --options vers=4.2", "vm-100-disk-0.raw", "nfs 127.0.0.1", export},
	}
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" { // each takes half a minute
		list = append(list, more(t)...)
	}
	for _, d := range list {
		if out := w.PVESM(append([]string{"scan"}, strings.Fields(d.scan)...)...); !strings.Contains("\n"+out, "\n"+d.found) {
			t.Errorf("pvesm scan %s: %q, want %s", d.scan, out, d.found)
		}
		words := strings.Fields(d.words)
		w.PVESM(append([]string{"add", words[0], d.storeid, "--content", "images"}, words[1:]...)...)
	}
	if strings.Contains(w.Read("etc/pve/storage.cfg"), "secret") {
		t.Error("the password is in storage.cfg")
	}
	active(w, list, states(w))
	for _, d := range list {
		volume(w, d)
	}
	hangs(w, list)
	for _, d := range list {
		w.PVESM("remove", d.storeid)
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

// more serves by SMB and iSCSI.
func more(t *testing.T) []definition {
	t.Helper()
	testnode.Need(t, "cifs", "iscsi")
	share, lun := t.TempDir(), filepath.Join(t.TempDir(), "lun")
	lvmtest.Run(t, "truncate", "-s", "8M", lun)
	testnode.Samba(t, "tester", "secret", map[string]string{"data": share})
	// Who asks first waits for helpers of Samba's to start, which takes long here.
	lvmtest.Run(t, "smbclient", "-m", "smb3", "-g", "-L", "127.0.0.1", "-U", "tester%secret")
	testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: []string{lun}})
	testnode.Initiator(t)
	const login = " --username tester --password secret"
	return []definition{
		{"smb", "cifs --server 127.0.0.1 --share data" + login, "vm-100-disk-0.qcow2", "cifs 127.0.0.1" + login, "data"},
		{"san", "iscsi --portal 127.0.0.1 --target " + iqn, "", "iscsi 127.0.0.1", iqn},
	}
}

// volume makes a volume, finds it and removes it.
func volume(w *World, d definition) {
	w.Helper()
	if d.volume == "" {
		if volume := first(w, w.PVESM("list", d.storeid)); !strings.HasPrefix(volume, d.storeid+":0.0.1.") {
			w.Errorf("the LUN is %s", volume)
		}
		return
	}
	w.PVESM("alloc", d.storeid, "100", d.volume, "4M")
	listed := first(w, w.PVESM("list", d.storeid))
	if !strings.HasSuffix(listed, d.volume) || !strings.HasPrefix(listed, d.storeid+":") {
		w.Errorf("listed is %s, want %s of %s", listed, d.volume, d.storeid)
	}
	if path := strings.TrimSpace(w.PVESM("path", listed)); !strings.HasSuffix(path, d.volume) {
		w.Errorf("%s is at %s", listed, path)
	}
	w.PVESM("free", listed)
	if left := strings.TrimSpace(w.PVESM("list", d.storeid)); strings.Contains(left, "\n") {
		w.Errorf("left: %s", left)
	}
}

// active checks that all storages are.
func active(w *World, list []definition, states map[string]string) {
	w.Helper()
	for _, d := range list {
		if states[d.storeid] != "active" {
			w.Errorf("%s is %q", d.storeid, states[d.storeid])
		}
	}
}

// hangs takes the cable of NFS away: it is inactive, the others answer, and however often
// they are asked there is one process that waits.
func hangs(w *World, list []definition) {
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
		active(w, list, got)
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
	active(w, list, states(w))
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
