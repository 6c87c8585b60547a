package power

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline/probe"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// node gathers what the command line of a VM depends on besides its configuration.
func (s *Service) node(ctx context.Context, vmid id.VM, arch string) (*cmdline.Host, error) {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	cpu := host.ParseCPU(string(cpuinfo))
	kvm := cpu.ProbeKVM("/dev/kvm", hostArch())
	h := &cmdline.Host{
		Node: string(s.Node), Arch: hostArch(), CPUs: cpu.Count,
		CPUVendor: cpu.Vendor, CPUFlags: cpu.Flags, PhysBits: cpu.PhysBits,
		KVM:      cmdline.KVM{Opens: kvm.Opens, Trusted: kvm.Trusted},
		VhostNet: opens("/dev/vhost-net"), IOURing: probe.IOURing(),
		Paths:   s.paths(vmid),
		IsBlock: isBlock, IsChar: isChar,
		Firmware:   Firmware,
		BridgeMTU:  s.bridgeMTU,
		HugePages:  hasHugePages,
		NUMANode:   hasNUMANode,
		SCSIType:   scsiType,
		DirMapping: func(name string) (string, error) { return s.directory(ctx, name) },
		USBMapping: func(name string) (string, error) { return s.usb(ctx, name) },
		PCI:        pciDevices{s, ctx, vmid},
		CPUModel:   func(name string) (qemu.CPU, bool) { return s.cpuModel(ctx, name) },
		SEV:        memoryEncryption,
		TDX:        sys.TDX,
		GL:         renders,
		Volume:     func(volid string) (cmdline.Volume, error) { return s.volume(ctx, volid) },
		ISCSIName:  storage.InitiatorName(),
	}
	if arch == "" {
		arch = h.Arch
	}
	if h.QEMU, err = s.QEMU(ctx, arch); err != nil {
		return nil, err
	}
	if h.QEMU.Spice {
		h.Spice = func() (cmdline.Spice, error) { return s.spice(vmid) }
	}
	return h, nil
}

// memoryEncryption tells what there is of AMD's memory encryption.
func memoryEncryption() (cmdline.SEV, error) {
	has, err := sys.SEV("/dev/cpu/0/cpuid")
	return cmdline.SEV{
		CBitPos: has.CBitPos, ReducedPhysBits: has.ReducedPhysBits, Support: has.SEV, SupportES: has.ES, SupportSNP: has.SNP,
	}, err
}

// renders returns an error where no GPU can draw for the guests.
func renders() error {
	found, err := filepath.Glob("/dev/dri/renderD*")
	if err == nil && len(found) == 0 {
		err = errors.New("vga: no DRM render node (/dev/dri/renderD*) is there: virtio-gl needs a graphics card of the host")
	}
	return err
}

func hostArch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

// opens tells whether a device can be opened.
func opens(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// paths are the places of the sockets and files of a VM while it runs.
func (s *Service) paths(vmid id.VM) cmdline.Paths {
	below := func(kind string) string { return filepath.Join(string(s.Dir), vmid.String()+"."+kind) }
	return cmdline.Paths{
		QMP: s.Dir.QMP(vmid), Events: s.Dir.Events(vmid), VNC: s.Dir.VNC(vmid), Agent: s.Dir.Agent(vmid), TPM: s.Dir.TPM(vmid),
		PID: s.Dir.PID(vmid), Spice: below("spice"), EFIVars: below("efivars"),
		Serial:   func(n int) string { return s.Dir.Serial(vmid, n) },
		VirtioFS: func(n int) string { return below("virtiofs" + strconv.Itoa(n)) },
	}
}

// volume describes a volume to QEMU.
func (s *Service) volume(ctx context.Context, text string) (cmdline.Volume, error) {
	var v id.Volume
	if err := v.UnmarshalText([]byte(text)); err != nil {
		return cmdline.Volume{}, err
	}
	def, err := s.Storage.Lookup(ctx, v.Storage)
	if err != nil {
		return cmdline.Volume{}, err
	}
	name, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return cmdline.Volume{}, err
	}
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return cmdline.Volume{}, err
	}
	found := cmdline.Volume{
		ID: text, Type: def.Type, Kind: string(name.Content), Format: name.Format, Path: path, Contents: contents(def.Content),
		KRBD: def.Type == "rbd" && filepath.IsAbs(path), // else it is an address for librbd
	}
	found.Node, err = s.Storage.Blockdev(ctx, v)
	return found, err
}

func contents(all []storage.Content) []string {
	names := make([]string, 0, len(all))
	for _, c := range all {
		names = append(names, string(c))
	}
	return names
}

func isBlock(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0, nil
}

func isChar(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}

// scsiType reads the kind of a SCSI device of the host.
func scsiType(path string) (int, bool) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return 0, false
	}
	base := filepath.Base(real)
	for _, class := range []string{"block", "scsi_generic"} {
		if text, err := os.ReadFile(filepath.Join("/sys/class", class, base, "device/type")); err == nil {
			kind, err := strconv.Atoi(strings.TrimSpace(string(text)))
			return kind, err == nil
		}
	}
	return 0, false
}

// bridgeMTU asks for the MTU of a bridge, and whether it is there.
func (s *Service) bridgeMTU(bridge string) (int, error) {
	net, err := s.Net()
	if err != nil {
		return 0, err
	}
	defer net.Close()
	device, err := net.BridgeNamed(bridge)
	if errors.Is(err, link.ErrNotFound) {
		return 0, fmt.Errorf("bridge '%s' does not exist", bridge)
	}
	return device.MTU, err
}

func hasHugePages(mebibytes int) bool {
	_, err := os.Stat(fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB", mebibytes*1024))
	return err == nil
}

func hasNUMANode(n int) bool {
	_, err := os.Stat("/sys/devices/system/node/node" + strconv.Itoa(n))
	return err == nil
}
