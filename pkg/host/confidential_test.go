package host_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
)

func TestSEV(t *testing.T) {
	dir := t.TempDir()
	cpuid := filepath.Join(dir, "cpuid")
	none, err := host.Sys(dir).SEV(cpuid)
	if err != nil || none != (host.SEV{}) {
		t.Errorf("a machine without: %+v, %v", none, err)
	}
	lay(t, dir, map[string]string{"module/kvm_amd/parameters/sev": "Y\n", "module/kvm_amd/parameters/sev_es": "1\n", "module/kvm_amd/parameters/sev_snp": "N\n"})
	if _, err := host.Sys(dir).SEV(cpuid); err == nil || !strings.Contains(err.Error(), "modprobe cpuid") {
		t.Errorf("without the device: %v", err)
	}
	f, err := os.Create(cpuid) // sparse: the kernel's has a leaf at each offset
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	registers := binary.LittleEndian.AppendUint32(make([]byte, 4), 51|5<<6) // EBX
	if _, err := f.WriteAt(append(registers, make([]byte, 8)...), 0x8000001f); err != nil {
		t.Skip("the file system has no files of 2 GiB:", err)
	}
	got, err := host.Sys(dir).SEV(cpuid)
	if diff := cmp.Diff(host.SEV{CBitPos: 51, ReducedPhysBits: 5, SEV: true, ES: true}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestTDX(t *testing.T) {
	dir := t.TempDir()
	if host.Sys(dir).TDX() {
		t.Error("TDX on a machine without")
	}
	lay(t, dir, map[string]string{"module/kvm_intel/parameters/tdx": "Y\n"})
	if !host.Sys(dir).TDX() {
		t.Error("no TDX")
	}
}
