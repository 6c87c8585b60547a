package cmdline

import (
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// Host is what a command line depends on besides the configuration: the node,
// its QEMU, its storage and its devices. Composing asks it and changes nothing.
// A function that is nil means that the node has none of the thing.
type Host struct {
	Node      string
	Arch      string // x86_64 or aarch64
	CPUs      int
	CPUVendor string   // GenuineIntel, AuthenticAMD
	CPUFlags  []string // of /proc/cpuinfo
	PhysBits  int      // width of physical addresses, 0 where it is not known
	KVM       KVM
	QEMU      *Capabilities
	Paths     Paths
	VhostNet  bool // the kernel moves network packets itself
	IOURing   bool // the kernel lets programs use io_uring

	Volume    func(volid string) (Volume, error)
	IsBlock   func(path string) (bool, error) // whether a path is a block device; an error where nothing is there
	IsChar    func(path string) bool          // whether a path is a character device
	SCSIType  func(path string) (kind int, ok bool)
	Firmware  func(kind string) (Firmware, error) // see the FirmwareX names
	BridgeMTU func(bridge string) (int, error)
	CPUModel  func(name string) (model qemu.CPU, ok bool) // a custom model, name without custom-
	HugePages func(mebibytes int) bool                    // whether the kernel has pages of that size
	NUMANode  func(n int) bool                            // whether the node has NUMA node n

	PCI        PCI
	USBMapping func(name string) (device string, err error) // "1-2.3" or "1234:abcd"
	DirMapping func(name string) (path string, err error)
	SEV        func() (SEV, error)
	TDX        func() bool // whether the CPU has Intel TDX
	GL         func() error
	Spice      func() (Spice, error)
	ISCSIName  string // of this node as an iSCSI initiator
	BootSplash string // picture of the firmware, none where empty
}

// KVM says what is known of hardware virtualization on a node.
type KVM struct {
	Opens   bool // /dev/kvm can be opened
	Trusted bool // and the CPU has what it needs: stock kernels run under it
}

// Paths are the places of the sockets and files of a running VM.
type Paths struct {
	QMP      string // monitor
	Events   string // where QEMU reports events to, none where empty
	VNC      string
	Agent    string // guest agent
	TPM      string
	PID      string
	Spice    string              // used where SPICE has no certificates
	EFIVars  string              // firmware variables of a VM without an EFI disk
	Serial   func(n int) string  // serial port n
	VirtioFS func(n int) string  // shared folder n
	Shared   func(string) string // memory shared with other guests, by name
}

// Volume is what a volume looks like from QEMU.
type Volume struct {
	ID       string
	Type     string         // of its storage: dir, lvm, rbd, …
	KRBD     bool           // a Ceph image that the kernel has mapped
	NoCOW    bool           // on btrfs, with copy on write switched off
	Kind     string         // images, iso, import, snippets
	Contents []string       // that the storage is for; nil where all is allowed
	Format   string         // raw, qcow2, vmdk
	Node     map[string]any // driver of the protocol and its options, as blockdev-add has them
	Path     string         // of a file or block device; else as -drive has it
}

// Firmware is a UEFI firmware: its code and its variables as they are at first.
type Firmware struct {
	Code, Vars string
	VarsSize   int64
}

// The kinds of firmware. Code for secure boot needs SMM, hence q35.
const (
	Firmware2M           = "2m"
	Firmware4M           = "4m"
	Firmware4MKeys       = "4m-keys" // with the keys of common operating systems in its variables
	Firmware4MSecure     = "4m-secure"
	Firmware4MSecureKeys = "4m-secure-keys"
	FirmwareSEV          = "4m-sev"
	FirmwareSNP          = "4m-snp"
	FirmwareTDX          = "4m-tdx"
	FirmwareARM          = "arm"
)

// SEV is what AMD's memory encryption offers on a node.
type SEV struct {
	CBitPos         int  `json:"cbitpos"`
	ReducedPhysBits int  `json:"reduced-phys-bits"`
	Support         bool `json:"sev-support"`
	SupportES       bool `json:"sev-support-es"`
	SupportSNP      bool `json:"sev-support-snp"`
}

// Spice is where a SPICE server listens.
type Spice struct {
	Port                  int
	Address               string
	KeyFile, Cert, CACert string // for TLS; without them a socket is used
}

// errNoStorage and the like answer for a host that has none of a thing.
var errNoStorage = errors.New("no storage is known")

func (h *Host) volume(volid string) (Volume, error) {
	if h.Volume == nil {
		return Volume{}, fmt.Errorf("%s: %w", volid, errNoStorage)
	}
	return h.Volume(volid)
}

func (h *Host) isBlock(path string) (bool, error) {
	if h.IsBlock == nil {
		return false, nil
	}
	return h.IsBlock(path)
}

func (h *Host) firmware(kind string) (Firmware, error) {
	if h.Firmware == nil {
		return Firmware{}, fmt.Errorf("no UEFI firmware is installed")
	}
	return h.Firmware(kind)
}

func (h *Host) bridgeMTU(bridge string) (int, error) {
	if h.BridgeMTU == nil {
		return 0, fmt.Errorf("bridge '%s' does not exist", bridge)
	}
	return h.BridgeMTU(bridge)
}

// physBits returns the width of physical addresses on the node.
func (h *Host) physBits() int {
	if h.PhysBits == 0 {
		return 36 // what every CPU with long mode has
	}
	return h.PhysBits
}
