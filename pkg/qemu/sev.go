package qemu

// SEV is the value of amd-sev.
type SEV struct {
	Type         string `pve:"type,default_key" doc:"" enum:"std|es|snp" maxlen:"3" hint:"sev-type"`
	AllowSMT     *bool  `pve:"allow-smt" doc:"" default:"1"`
	KernelHashes *bool  `pve:"kernel-hashes" doc:"" default:"0"`
	NoDebug      *bool  `pve:"no-debug" doc:"" default:"0"`
	NoKeySharing *bool  `pve:"no-key-sharing" doc:"" default:"0"`
}
