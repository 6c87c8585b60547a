package qm

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEnrollEFIKeys(t *testing.T) {
	if _, err := os.Stat("/usr/share/OVMF/OVMF_VARS_4M.ms.fd"); err != nil {
		t.Skipf("needs the package ovmf: %v", err)
	}
	y := newYard(t)
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			y.t = t
			y.must("create", "100", "--bios", "ovmf", "--machine", "q35", "--efidisk0", "local:1,efitype=4m,pre-enrolled-keys=1,format="+format)
			before := y.files()
			if out := y.must("enroll-efi-keys", "100", "--dry-run"); !strings.Contains(out, "enroll 'Windows UEFI CA 2023' into db of local:100/vm-100-disk-0."+format) {
				t.Error(out)
			}
			if diff := cmp.Diff(before, y.files()); diff != "" {
				t.Errorf("a dry run changed files: %s", diff)
			}
			if out := y.must("enroll-efi-keys", "100"); !strings.Contains(out, "KEK: enrolled 'Microsoft Corporation KEK 2K CA 2023'\n") {
				t.Error(out)
			}
			if conf := y.must("config", "100"); !strings.Contains(conf, "vm-100-disk-0."+format+",efitype=4m,ms-cert=2023k,pre-enrolled-keys=1,size=528K\n") {
				t.Error(conf)
			}
			if out := y.must("enroll-efi-keys", "100"); out != "all certificates are enrolled already\n" {
				t.Error(out)
			}
			y.must("destroy", "100")
		})
	}
	y.t = t
	y.refuses("nodes/pve1/qemu-server/100.conf' does not exist", "enroll-efi-keys", "100")
	y.must("create", "101", "--name", "bios")
	y.refuses("VM 101 has no EFI disk configured", "enroll-efi-keys", "101")
}
