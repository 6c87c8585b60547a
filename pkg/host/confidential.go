package host

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SEV is what AMD's memory encryption offers on a machine.
type SEV struct {
	CBitPos         int // which bit of an address says that the memory is encrypted
	ReducedPhysBits int // bits of an address that are lost to it
	SEV, ES, SNP    bool
}

// memoryEncryption is the CPUID leaf that tells of AMD's.
const memoryEncryption = 0x8000001f

// SEV tells what the kernel offers of AMD's memory encryption. The CPU is only asked
// where the kernel offers any; that needs the device cpuid, which its module makes.
func (s Sys) SEV(device string) (SEV, error) {
	offered := func(name string) bool { return s.parameter("kvm_amd", name) }
	found := SEV{SEV: offered("sev"), ES: offered("sev_es"), SNP: offered("sev_snp")}
	if !found.SEV {
		return SEV{}, nil
	}
	f, err := os.Open(device)
	if err != nil {
		return SEV{}, fmt.Errorf("ask the CPU for SEV: %w: 'modprobe cpuid' makes it", err)
	}
	defer f.Close()
	var registers [16]byte
	if _, err := f.ReadAt(registers[:], memoryEncryption); err != nil {
		return SEV{}, fmt.Errorf("ask the CPU for SEV: %w", err)
	}
	bits := binary.LittleEndian.Uint32(registers[4:])
	found.CBitPos, found.ReducedPhysBits = int(bits&0x3f), int(bits>>6&0x3f)
	return found, nil
}

// TDX tells whether the kernel offers Intel's protected guests.
func (s Sys) TDX() bool { return s.parameter("kvm_intel", "tdx") }

// parameter tells whether a boolean parameter of a kernel module is on.
func (s Sys) parameter(module, name string) bool {
	text, err := os.ReadFile(filepath.Join(string(s), "module", module, "parameters", name))
	on := strings.TrimSpace(string(text))
	return err == nil && (on == "Y" || on == "1")
}
