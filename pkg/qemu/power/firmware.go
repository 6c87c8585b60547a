package power

import (
	"fmt"
	"os"

	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// A build is where distributions put the code and the variables of a firmware.
type build struct{ code, vars string }

// builds lists, for each kind of firmware, where it may be; the first that is there
// is taken. Debian and its kin come first, then Fedora's, SUSE's and Arch's.
func builds(kind string) []build {
	const debian, edk2, suse, arch = "/usr/share/OVMF/", "/usr/share/edk2/ovmf/", "/usr/share/qemu/", "/usr/share/edk2/x64/"
	switch kind {
	case cmdline.Firmware2M:
		return []build{{debian + "OVMF_CODE.fd", debian + "OVMF_VARS.fd"}, {edk2 + "OVMF_CODE.fd", edk2 + "OVMF_VARS.fd"}}
	case cmdline.Firmware4M:
		return []build{
			{debian + "OVMF_CODE_4M.fd", debian + "OVMF_VARS_4M.fd"}, {edk2 + "OVMF_CODE_4M.fd", edk2 + "OVMF_VARS_4M.fd"},
			{suse + "ovmf-x86_64-4m-code.bin", suse + "ovmf-x86_64-4m-vars.bin"}, {arch + "OVMF_CODE.4m.fd", arch + "OVMF_VARS.4m.fd"},
		}
	case cmdline.Firmware4MKeys:
		return []build{
			{debian + "OVMF_CODE_4M.fd", debian + "OVMF_VARS_4M.ms.fd"},
			{suse + "ovmf-x86_64-ms-4m-code.bin", suse + "ovmf-x86_64-ms-4m-vars.bin"},
		}
	case cmdline.Firmware4MSecure:
		return []build{
			{debian + "OVMF_CODE_4M.secboot.fd", debian + "OVMF_VARS_4M.fd"},
			{suse + "ovmf-x86_64-smm-4m-code.bin", suse + "ovmf-x86_64-smm-4m-vars.bin"},
			{arch + "OVMF_CODE.secboot.4m.fd", arch + "OVMF_VARS.4m.fd"},
		}
	case cmdline.Firmware4MSecureKeys:
		return []build{
			{debian + "OVMF_CODE_4M.secboot.fd", debian + "OVMF_VARS_4M.ms.fd"},
			{suse + "ovmf-x86_64-smm-ms-4m-code.bin", suse + "ovmf-x86_64-smm-ms-4m-vars.bin"},
		}
	case cmdline.FirmwareARM:
		return []build{
			{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
			{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
		}
	case cmdline.FirmwareSEV, cmdline.FirmwareSNP:
		return []build{{"/usr/share/ovmf/OVMF.amdsev.fd", debian + "OVMF_VARS_4M.fd"}, {edk2 + "OVMF.amdsev.fd", edk2 + "OVMF_VARS.fd"}}
	case cmdline.FirmwareTDX:
		return []build{{"/usr/share/ovmf/OVMF.inteltdx.fd", debian + "OVMF_VARS_4M.fd"}, {edk2 + "OVMF.inteltdx.fd", edk2 + "OVMF_VARS.fd"}}
	}
	return nil
}

// Firmware finds an installed UEFI firmware.
func Firmware(kind string) (cmdline.Firmware, error) {
	for _, b := range builds(kind) {
		vars, err := os.Stat(b.vars)
		if err != nil {
			continue
		}
		if _, err := os.Stat(b.code); err == nil {
			return cmdline.Firmware{Code: b.code, Vars: b.vars, VarsSize: vars.Size()}, nil
		}
	}
	first := builds(kind)
	if len(first) == 0 {
		return cmdline.Firmware{}, fmt.Errorf("EFI base image of kind '%s' is not known", kind)
	}
	return cmdline.Firmware{}, fmt.Errorf("EFI base image '%s' not found: install the firmware package (ovmf, qemu-efi-aarch64)", first[0].code)
}
