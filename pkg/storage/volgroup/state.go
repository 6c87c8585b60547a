package volgroup

import (
	"strings"

	"github.com/virtsmith/virtsmith/pkg/lvm"
)

// StateName returns the logical volume that keeps a state of a volume: with the name
// snap_vm-100-disk-0_before, and the end, if the volume's name has it.
func StateName(name, snap, end string) string { return around(name, end) + snap + end }

// around returns what stands before the name of a state.
func around(name, end string) string { return "snap_" + strings.TrimSuffix(name, end) + "_" }

// StateOf returns which state of a volume a logical volume keeps; empty where it keeps
// none of it. What could be a state of two volumes is that of the longer name.
func StateOf(all []lvm.Volume, lv, name, end string) string {
	begin := around(name, end)
	snap, ok := strings.CutPrefix(lv, begin)
	if !ok || !strings.HasSuffix(snap, end) {
		return ""
	}
	if snap = strings.TrimSuffix(snap, end); !SnapName(snap) {
		return ""
	}
	for _, other := range all {
		if _, err := Parse(other.Name); err != nil || len(other.Name) <= len(name) {
			continue
		}
		if strings.HasSuffix(other.Name, end) && strings.HasPrefix(lv, around(other.Name, end)) {
			return ""
		}
	}
	return snap
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// SnapName tells whether text can be the name of a snapshot: a letter, then letters,
// digits, underscores and hyphens.
func SnapName(text string) bool {
	return text != "" && strings.Trim(text[:1], letters) == "" && strings.Trim(text, letters+"0123456789_-") == ""
}
