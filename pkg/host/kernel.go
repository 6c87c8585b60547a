package host

import (
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Kernel is the version of a Linux kernel; the zero value is an unknown one.
type Kernel struct {
	Major, Minor, Patch int
	Rest                string // what follows the numbers and a dash, as 1-pve
	Full                string // as uname -r prints it
}

var kernelPattern = pattern.New(`^Linux version ((\d+)(?:\.(\d+))?(?:\.(\d+))?-?(\S+)?)`)

// ParseKernel reads the content of /proc/version. What is none gives the zero Kernel.
func ParseKernel(procVersion string) Kernel {
	m := kernelPattern.FindStringSubmatch(procVersion)
	if m == nil {
		return Kernel{}
	}
	return Kernel{Major: atoi(m[2]), Minor: atoi(m[3]), Patch: atoi(m[4]), Rest: m[5], Full: m[1]}
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// AtLeast tells whether the kernel is of that version or newer. An unknown kernel is
// older than any.
func (k Kernel) AtLeast(major, minor int) bool {
	return k.Major > major || k.Major == major && k.Minor >= minor
}
