package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// CPU is the processors of the host.
type CPU struct {
	Vendor   string // GenuineIntel, AuthenticAMD
	Model    string
	MHz      float64
	Flags    []string
	Count    int // logical processors
	Sockets  int
	PhysBits int // width of physical addresses, 0 where it is not told
}

var physBits = pattern.New(`^(\d+) bits physical`)

// ParseCPU reads the content of /proc/cpuinfo. All processors are taken to be like the
// first.
func ParseCPU(cpuinfo string) CPU {
	var c CPU
	sockets := map[string]bool{}
	for line := range strings.Lines(cpuinfo) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch key {
		case "processor":
			c.Count++
		case "physical id":
			sockets[value] = true
		}
		if c.Count <= 1 {
			c.describe(key, value)
		}
	}
	c.Sockets = max(len(sockets), min(c.Count, 1))
	return c
}

func (c *CPU) describe(key, value string) {
	switch key {
	case "vendor_id":
		c.Vendor = value
	case "model name":
		c.Model = value
	case "cpu MHz":
		c.MHz, _ = strconv.ParseFloat(value, 64)
	case "flags", "Features":
		c.Flags = strings.Fields(value)
	case "address sizes":
		if m := physBits.FindStringSubmatch(value); m != nil {
			c.PhysBits = atoi(m[1])
		}
	}
}

// Has tells whether the CPU has a flag.
func (c CPU) Has(flag string) bool { return slices.Contains(c.Flags, flag) }

// KVM says what is known of hardware virtualization on a node.
type KVM struct {
	Opens   bool  // the device can be opened
	Trusted bool  // and the CPU has what it needs: stock kernels run under it
	Why     error // why it is not trusted
}

// ProbeKVM tries to open device, /dev/kvm on a real machine. A machine may have one that
// opens and on which guests hang, being itself a guest of something smaller: there the
// CPU does not show its virtualization.
func (c CPU) ProbeKVM(device, arch string) KVM {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return KVM{Why: fmt.Errorf("the kernel has no KVM: there is no %s", device)}
	case err != nil:
		return KVM{Why: err}
	}
	_ = f.Close()
	if arch == "x86_64" && !c.Has("vmx") && !c.Has("svm") {
		return KVM{Opens: true, Why: fmt.Errorf("%s is there, but the CPU shows neither vmx nor svm", device)}
	}
	return KVM{Opens: true, Trusted: true}
}
