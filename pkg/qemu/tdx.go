package qemu

// TDX is the value of intel-tdx.
type TDX struct {
	Type        string `pve:"type,default_key" doc:"" enum:"tdx" hint:"tdx-type"`
	Attestation bool   `pve:"attestation" doc:"" default:"1"`
	VSockCID    *int   `pve:"vsock-cid" doc:"" min:"2" default:"2"`
	VSockPort   *int   `pve:"vsock-port" doc:"" min:"0" default:"4050"`
}
