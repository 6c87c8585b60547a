package qemu

// CPU is the value of cpu.
type CPU struct {
	Type          *string `pve:"cputype,default_key" doc:"" default:"kvm64" hint:"string"`
	Flags         *string `pve:"flags" doc:"" pattern:"(?:(?:([+-])([a-zA-Z0-9\\-_\\.]+))(;(?:([+-])([a-zA-Z0-9\\-_\\.]+)))*)" hint:"+FLAG[;-FLAG...]"`
	GuestPhysBits *int    `pve:"guest-phys-bits" doc:"" min:"32" max:"64"`
	Hidden        *bool   `pve:"hidden" doc:"" default:"0"`
	HVVendorID    *string `pve:"hv-vendor-id" doc:"" pattern:"(?:[a-zA-Z0-9]{1,12})" hint:"vendor-id"`
	Level         *int    `pve:"level" doc:"" min:"0" max:"4294967295"`
	PhysBits      *string `pve:"phys-bits" doc:"" format:"pve-phys-bits" hint:"8-64|host"`
	ReportedModel *string `pve:"reported-model" doc:"" enum:"486|a64fx|athlon|Broadwell|Broadwell-IBRS|Broadwell-noTSX|Broadwell-noTSX-IBRS|Cascadelake-Server|Cascadelake-Server-noTSX|Cascadelake-Server-v2|Cascadelake-Server-v4|Cascadelake-Server-v5|ClearwaterForest|Conroe|Cooperlake|Cooperlake-v2|core2duo|coreduo|cortex-a35|cortex-a53|cortex-a55|cortex-a57|cortex-a710|cortex-a72|cortex-a76|EPYC|EPYC-Genoa|EPYC-Genoa-v2|EPYC-IBPB|EPYC-Milan|EPYC-Milan-v2|EPYC-Milan-v3|EPYC-Rome|EPYC-Rome-v2|EPYC-Rome-v3|EPYC-Rome-v4|EPYC-Rome-v5|EPYC-Turin|EPYC-v3|EPYC-v4|EPYC-v5|GraniteRapids|GraniteRapids-v2|GraniteRapids-v3|Haswell|Haswell-IBRS|Haswell-noTSX|Haswell-noTSX-IBRS|host|Icelake-Client|Icelake-Client-noTSX|Icelake-Server|Icelake-Server-noTSX|Icelake-Server-v3|Icelake-Server-v4|Icelake-Server-v5|Icelake-Server-v6|Icelake-Server-v7|IvyBridge|IvyBridge-IBRS|KnightsMill|kvm32|kvm64|max|Nehalem|Nehalem-IBRS|neoverse-n1|neoverse-n2|neoverse-v1|Opteron_G1|Opteron_G2|Opteron_G3|Opteron_G4|Opteron_G5|Penryn|pentium|pentium2|pentium3|phenom|qemu32|qemu64|SandyBridge|SandyBridge-IBRS|SapphireRapids|SapphireRapids-v2|SapphireRapids-v3|SapphireRapids-v4|SierraForest|SierraForest-v2|SierraForest-v3|Skylake-Client|Skylake-Client-IBRS|Skylake-Client-noTSX-IBRS|Skylake-Client-v4|Skylake-Server|Skylake-Server-IBRS|Skylake-Server-noTSX-IBRS|Skylake-Server-v4|Skylake-Server-v5|Westmere|Westmere-IBRS" default:"kvm64"`
}
