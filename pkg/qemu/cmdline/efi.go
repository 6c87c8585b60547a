package cmdline

import (
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// EFIVars are the variables of a firmware that are kept only while the VM runs.
type EFIVars struct {
	Path string // to make
	From string // to copy
}

// firmware adds a UEFI firmware and where it keeps its variables.
func (c *composer) firmware() error {
	if str(c.conf.BIOS, "seabios") != "ovmf" {
		return nil
	}
	if m, err := c.resolveModel(); c.vm.CPU == "" && err == nil && m.bits == 32 {
		return errors.New("OVMF (UEFI) BIOS is not supported on 32-bit CPU types")
	}
	drive, has := c.conf.Drive("efidisk0")
	fw, err := c.host.firmware(FirmwareKind(c.arch, drive, c.machine.q35, c.cvmType()))
	if err != nil {
		return err
	}
	if kind := c.cvmType(); kind == "snp" || kind == "tdx" {
		if has {
			c.warn("EFI disks are not supported with Confidential Virtual Machines and will be ignored")
		}
		c.arg("-bios", fw.Code)
		return nil
	}
	if !has {
		c.note("no efidisk configured! Using temporary efivars disk.")
		drive = qemu.Drive{Bus: "efidisk", DriveOptions: qemu.DriveOptions{File: c.host.Paths.EFIVars, Format: new("raw")}}
		c.out.EFIVars = &EFIVars{Path: drive.File, From: fw.Vars}
	} else if drive.Volume() == "" && drive.Format == nil {
		return errors.New("efidisk format must be specified")
	}
	drive.Cache = new("writeback") // flash is read, changed and written in small pieces
	tree, err := c.blockdev(drive, blockOptions{size: fw.VarsSize, fresh: !has})
	if err != nil {
		return err
	}
	code := map[string]any{
		"driver": "raw", "node-name": "pflash0", "read-only": true,
		"file": map[string]any{"driver": "file", "filename": fw.Code},
	}
	c.arg("-object", canonical(throttleGroup(drive)), "-blockdev", canonical(code), "-blockdev", canonical(tree))
	c.flags = append(c.flags, "pflash0=pflash0", fmt.Sprintf("pflash1=drive-%s", drive.Key()))
	return nil
}

// FirmwareKind names the firmware that a VM needs; see [Host.Firmware]. The EFI
// disk may be the zero value.
func FirmwareKind(arch string, efi qemu.Drive, q35 bool, cvm string) string {
	switch {
	case arch == "aarch64":
		return FirmwareARM
	case cvm == "snp":
		return FirmwareSNP
	case cvm == "tdx":
		return FirmwareTDX
	case cvm != "":
		return FirmwareSEV
	case str(efi.EFIType, "2m") != "4m":
		return Firmware2M
	}
	keys := flag(efi.PreEnrolledKeys, false)
	switch {
	case q35 && keys:
		return Firmware4MSecureKeys
	case q35:
		return Firmware4MSecure
	case keys:
		return Firmware4MKeys
	}
	return Firmware4M
}
