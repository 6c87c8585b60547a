package qemu

// SEV is the value of amd-sev.
type SEV struct {
	Type         string `pve:"type,default_key" doc:"Variant of SEV." enum:"std|es|snp" maxlen:"3" hint:"sev-type"`
	AllowSMT     *bool  `pve:"allow-smt" doc:"Let the guest run where the host uses hyper-threading; SNP only." default:"1"`
	KernelHashes *bool  `pve:"kernel-hashes" doc:"Measure a kernel booted directly, through hashes given to the firmware." default:"0"`
	NoDebug      *bool  `pve:"no-debug" doc:"Forbid the host to debug the guest's memory." default:"0"`
	NoKeySharing *bool  `pve:"no-key-sharing" doc:"Forbid sharing the memory key with other guests." default:"0"`
}
