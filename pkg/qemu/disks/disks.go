// Package disks is the volumes of a VM's drives: it makes those that a user asks for,
// copies them, grows them, gives them to other VMs and finds those that nobody
// names.
//
// Long copies are made while the VM's configuration is locked against other commands, as
// upstream does it; names of volumes are taken by the storage, under a lock of its own
// that is held for a moment only. What a failed step has made it removes.
package disks

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Service works on the volumes of the VMs of a node.
type Service struct {
	*vm.Host
	// Firmware finds an installed UEFI firmware, whose variables new EFI disks begin with.
	Firmware func(kind string) (cmdline.Firmware, error)
	// Gather finds out what the block nodes of a running QEMU depend on.
	Gather func(ctx context.Context, vmid id.VM, arch string) (*cmdline.Host, error)
}

// Sizes of volumes that are as large as they are whatever was asked for.
const (
	CloudInitSize = 4 << 20 // of the image that cloud-init reads
	TPMStateSize  = 4 << 20 // of the state of a TPM
)

// newDisk is how a user asks for a new volume: the storage, which may be left out, and
// the size in GiB.
var newDisk = pattern.New(`^(?:([^/:\s]+):)?(\d+(?:\.\d+)?)$`)

// asksNew takes apart a value that asks for a new volume. ok is false where it does not.
func asksNew(file string) (storeid id.Storage, gib string, ok bool) {
	m := newDisk.FindStringSubmatch(file)
	if m == nil {
		return "", "", false
	}
	return id.Storage(m[1]), m[2], true
}

// asksCloudInit tells whether a value asks for a new image of cloud-init, and on which
// storage.
func asksCloudInit(file string) (storeid id.Storage, ok bool) {
	name, ok := strings.CutSuffix(file, "cloudinit")
	if !ok || name != "" && (!strings.HasSuffix(name, ":") || strings.Count(name, ":") != 1) {
		return "", false
	}
	return id.Storage(strings.TrimSuffix(name, ":")), true
}

// none tells whether a drive has nothing behind it that is a volume or a path.
func none(file string) bool { return file == "" || file == "none" || file == "cdrom" }

// undoList makes a list of steps to undo whose own faults become warnings.
func undoList(ctx context.Context) *revert.List {
	return revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
}

// toFree notes that a volume is removed when the work fails.
func (s *Service) toFree(undo *revert.List, v id.Volume) {
	undo.Add("free "+v.String(), func(ctx context.Context) error { return s.Storage.Free(ctx, v) })
}

// efiVars returns the variables that an EFI disk of a VM with the given values begins
// with.
func (s *Service) efiVars(values schema.Params, d qemu.Drive) (cmdline.Firmware, error) {
	if s.Firmware == nil {
		return cmdline.Firmware{}, fmt.Errorf("no UEFI firmware is installed")
	}
	conf := vm.Typed(values)
	arch := map[string]string{"arm64": "aarch64"}[runtime.GOARCH]
	if arch == "" {
		arch = "x86_64"
	}
	if conf.Arch != nil {
		arch = *conf.Arch
	}
	q35 := strings.Contains(values["machine"], "q35")
	return s.Firmware(cmdline.FirmwareKind(arch, d, q35, ""))
}

// EFISize returns the size that the EFI disk of a VM with the given values has.
func (s *Service) EFISize(values schema.Params, d qemu.Drive) (int64, error) {
	fw, err := s.efiVars(values, d)
	return fw.VarsSize, err
}

// isOn tells whether an option is switched on.
func isOn(value string) bool {
	on, _ := schema.ParseBool(value)
	return on
}
