package volgroup

import (
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/lvm"
)

func FuzzParse(f *testing.F) {
	for _, name := range []string{"vm-100-disk-0", "base-9000-disk-1", "vm-100-cloudinit", "vm-100-state-a_b", "vm--disk", "../vm-1-x", "vm-1-x\n"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := Parse(name)
		if err != nil {
			return
		}
		if n.File != name || n.Guest < 0 || strings.ContainsAny(name, "/ \t\n\x00") || name[0] == '-' {
			t.Errorf("%q is %+v", name, n)
		}
		if n.IsBase != strings.HasPrefix(name, "base-") {
			t.Errorf("%q is %+v", name, n)
		}
	})
}

func FuzzStateOf(f *testing.F) {
	f.Add("snap_vm-100-disk-0_a", "vm-100-disk-0", "a")
	f.Add("snap_vm-100-disk-0_a_b.qcow2", "vm-100-disk-0.qcow2", "a_b")
	f.Fuzz(func(t *testing.T, lv, name, snap string) {
		for _, end := range []string{"", ".qcow2"} {
			if got := StateOf(nil, lv, name, end); got != "" && StateName(name, got, end) != lv {
				t.Errorf("%q is state %q of %q, which would be %q", lv, got, name, StateName(name, got, end))
			}
			if SnapName(snap) && StateOf(nil, StateName(name, snap, end), name, end) != snap {
				t.Errorf("state %q of %q is not found", snap, name)
			}
		}
		Buried(lv)
	})
}

func TestStateOf(t *testing.T) {
	all := []lvm.Volume{{Name: "vm-100-disk-0"}, {Name: "vm-100-disk-0_x"}}
	for lv, want := range map[string]string{"snap_vm-100-disk-0_a": "a", "snap_vm-100-disk-0_x_a": "", "snap_vm-100-disk-0_xa": "xa", "snap_vm-100-disk-01_a": ""} {
		if got := StateOf(all, lv, "vm-100-disk-0", ""); got != want {
			t.Errorf("%s is %q, want %q", lv, got, want)
		}
	}
	for lv, want := range map[string]string{"del-vm-100-disk-0": "vm-100-disk-0", "del-del-snap_vm-1-a_b": "snap_vm-1-a_b", "del-root": "", "vm-100-disk-0": ""} {
		if got := Buried(lv); got != want {
			t.Errorf("%s was %q, want %q", lv, got, want)
		}
	}
}
