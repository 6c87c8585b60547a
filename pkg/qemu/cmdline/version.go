package cmdline

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// version is that of a machine or of QEMU: 9.2, or 9.2+pve1, where pve counts
// the changes made to a machine between two versions of QEMU.
type version struct{ major, minor, pve int }

var (
	machineVersion = regexp.MustCompile(`^(?:pc(?:-i440fx|-q35)?|virt)-(\d+)\.(\d+)(?:\.\d+)?(?:\+pve(\d+))?(?:\.pxe)?$`)
	binaryVersion  = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)
)

// atLeast tells whether v is major.minor+pve or later; pve is 0 where it is left out.
func (v version) atLeast(major, minor int, pve ...int) bool {
	want := version{major: major, minor: minor}
	if len(pve) > 0 {
		want.pve = pve[0]
	}
	return v.compare(want) >= 0
}

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v.major, w.major), cmp.Compare(v.minor, w.minor), cmp.Compare(v.pve, w.pve))
}

func (v version) String() string {
	if v.pve > 0 {
		return fmt.Sprintf("%d.%d+pve%d", v.major, v.minor, v.pve)
	}
	return fmt.Sprintf("%d.%d", v.major, v.minor)
}

// maxPVE is the latest change to the machines of a version of QEMU: 4.1+pve2 has
// more SCSI disks, 9.2+pve1 no sleep states, 10.0+pve1 always tells a network card
// its MTU, 11.0+pve2 has more of Hyper-V.
func (v version) maxPVE() int {
	switch (version{major: v.major, minor: v.minor}) {
	case version{major: 4, minor: 1}, version{major: 11, minor: 0}:
		return 2
	case version{major: 9, minor: 2}, version{major: 10, minor: 0}:
		return 1
	}
	return 0
}

// versionOfBinary reads the version of QEMU; patch is its third part.
func versionOfBinary(text string) (v version, patch int, ok bool) {
	m := binaryVersion.FindStringSubmatch(text)
	if m == nil {
		return version{}, 0, false
	}
	return version{major: number(m[1]), minor: number(m[2])}, number(m[3]), true
}

// versionOfMachine reads the version out of the name of a machine type that has
// one.
func versionOfMachine(name string) (v version, ok bool) {
	m := machineVersion.FindStringSubmatch(name)
	if m == nil {
		return version{}, false
	}
	return version{number(m[1]), number(m[2]), number(m[3])}, true
}

// number reads digits; what is too long for a number is as large as one gets.
func number(digits string) int {
	if digits == "" {
		return 0
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 1 << 30
	}
	return n
}
