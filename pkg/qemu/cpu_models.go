package qemu

import (
	"maps"
	"slices"
	"strings"
)

// CPUModel is what is known of a CPU model by its name.
type CPUModel struct {
	Name   string
	Vendor string // AuthenticAMD, GenuineIntel, ARM, or default where the model has none of its own
	Flags  string // that make this model of the one it is built on
	Base   string // the model that QEMU knows it by
	Bits   int
}

// CPUModels lists the models that guests of an architecture can have, custom
// ones apart, sorted by name.
func CPUModels(arch string) []CPUModel {
	models := map[string]CPUModel{}
	for vendor, names := range cpuNames(arch) {
		for _, name := range names {
			models[name] = CPUModel{Name: name, Vendor: vendor, Base: replaced(name), Bits: 64}
		}
	}
	for _, name := range cpus32() {
		if m, ok := models[name]; ok {
			m.Bits = 32
			models[name] = m
		}
	}
	if arch == "x86_64" {
		for name, flags := range builtinCPUs() {
			models[name] = CPUModel{Name: name, Vendor: "default", Base: "qemu64", Flags: flags, Bits: 64}
		}
	}
	return slices.SortedFunc(maps.Values(models), func(a, b CPUModel) int { return strings.Compare(a.Name, b.Name) })
}

// FindCPUModel returns the model of the given name; ok is false where there is
// none.
func FindCPUModel(arch, name string) (model CPUModel, ok bool) {
	if flags, builtin := builtinCPUs()[name]; builtin && arch == "x86_64" {
		return CPUModel{Name: name, Vendor: "default", Base: "qemu64", Flags: flags, Bits: 64}, true
	}
	for vendor, names := range cpuNames(arch) {
		if slices.Contains(names, name) {
			bits := 64
			if slices.Contains(cpus32(), name) {
				bits = 32
			}
			return CPUModel{Name: name, Vendor: vendor, Base: replaced(name), Bits: bits}, true
		}
	}
	return CPUModel{}, false
}

// CPUFlags lists the flags that a VM may set in its own configuration; custom
// models may set any.
func CPUFlags() []string {
	return []string{
		"aes", "amd-no-ssb", "amd-ssbd", "hv-evmcs", "hv-tlbflush", "ibpb", "md-clear", "nested-virt", "pcid",
		"pdpe1gb", "spec-ctrl", "ssbd", "virt-ssbd",
	}
}

// CustomCPU returns the name of the custom model that name, the cputype of a VM,
// stands for.
func CustomCPU(name string) (model string, ok bool) { return strings.CutPrefix(name, "custom-") }

// replaced returns the model that took the place of name, or name.
func replaced(name string) string {
	if name == "Icelake-Client" || name == "Icelake-Client-noTSX" { // dropped by QEMU: no such CPU was sold
		return strings.Replace(name, "Client", "Server", 1)
	}
	return name
}

// builtinCPUs are the levels of the x86-64 psABI: the flags that each has beyond
// qemu64.
func builtinCPUs() map[string]string {
	return map[string]string{
		"x86-64-v2":     "+popcnt;+pni;+sse4.1;+sse4.2;+ssse3",
		"x86-64-v2-AES": "+aes;+popcnt;+pni;+sse4.1;+sse4.2;+ssse3",
		"x86-64-v3":     "+aes;+popcnt;+pni;+sse4.1;+sse4.2;+ssse3;+avx;+avx2;+bmi1;+bmi2;+f16c;+fma;+abm;+movbe;+xsave",
		"x86-64-v4":     "+aes;+popcnt;+pni;+sse4.1;+sse4.2;+ssse3;+avx;+avx2;+bmi1;+bmi2;+f16c;+fma;+abm;+movbe;+xsave;+avx512f;+avx512bw;+avx512cd;+avx512dq;+avx512vl",
	}
}

// cpus32 lists the models without a 64-bit mode.
func cpus32() []string {
	return []string{"486", "athlon", "coreduo", "kvm32", "pentium", "pentium2", "pentium3", "qemu32"}
}

// cpuNames lists the models that QEMU has, by vendor.
func cpuNames(arch string) map[string][]string {
	switch arch {
	case "x86_64":
		return map[string][]string{
			"AuthenticAMD": {
				"EPYC", "EPYC-Genoa", "EPYC-Genoa-v2", "EPYC-IBPB", "EPYC-Milan", "EPYC-Milan-v2", "EPYC-Milan-v3",
				"EPYC-Rome", "EPYC-Rome-v2", "EPYC-Rome-v3", "EPYC-Rome-v4", "EPYC-Rome-v5", "EPYC-Turin", "EPYC-v3",
				"EPYC-v4", "EPYC-v5", "Opteron_G1", "Opteron_G2", "Opteron_G3", "Opteron_G4", "Opteron_G5", "athlon",
				"phenom",
			},
			"GenuineIntel": {
				"486", "Broadwell", "Broadwell-IBRS", "Broadwell-noTSX", "Broadwell-noTSX-IBRS", "Cascadelake-Server",
				"Cascadelake-Server-noTSX", "Cascadelake-Server-v2", "Cascadelake-Server-v4", "Cascadelake-Server-v5",
				"ClearwaterForest", "Conroe", "Cooperlake", "Cooperlake-v2", "GraniteRapids", "GraniteRapids-v2",
				"GraniteRapids-v3", "Haswell", "Haswell-IBRS", "Haswell-noTSX", "Haswell-noTSX-IBRS", "Icelake-Client",
				"Icelake-Client-noTSX", "Icelake-Server", "Icelake-Server-noTSX", "Icelake-Server-v3", "Icelake-Server-v4",
				"Icelake-Server-v5", "Icelake-Server-v6", "Icelake-Server-v7", "IvyBridge", "IvyBridge-IBRS", "KnightsMill",
				"Nehalem", "Nehalem-IBRS", "Penryn", "SandyBridge", "SandyBridge-IBRS", "SapphireRapids",
				"SapphireRapids-v2", "SapphireRapids-v3", "SapphireRapids-v4", "SierraForest", "SierraForest-v2",
				"SierraForest-v3", "Skylake-Client", "Skylake-Client-IBRS", "Skylake-Client-noTSX-IBRS", "Skylake-Client-v4",
				"Skylake-Server", "Skylake-Server-IBRS", "Skylake-Server-noTSX-IBRS", "Skylake-Server-v4",
				"Skylake-Server-v5", "Westmere", "Westmere-IBRS", "core2duo", "coreduo", "pentium", "pentium2", "pentium3",
			},
			"default": {
				"host", "kvm32", "kvm64", "max", "qemu32", "qemu64",
			},
		}
	case "aarch64":
		return map[string][]string{
			"ARM": {
				"a64fx", "cortex-a35", "cortex-a53", "cortex-a55", "cortex-a57", "cortex-a710", "cortex-a72", "cortex-a76",
				"neoverse-n1", "neoverse-n2", "neoverse-v1",
			},
			"default": {
				"host", "max",
			},
		}
	}
	return nil
}
