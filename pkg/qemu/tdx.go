package qemu

// TDX is the value of intel-tdx.
type TDX struct {
	Type        string `pve:"type,default_key" doc:"Variant of TDX." enum:"tdx" hint:"tdx-type"`
	Attestation bool   `pve:"attestation" doc:"Let the guest prove its state through a quote service." default:"1"`
	VSockCID    *int   `pve:"vsock-cid" doc:"Vsock context id of the quote service." min:"2" default:"2"`
	VSockPort   *int   `pve:"vsock-port" doc:"Vsock port of the quote service." min:"0" default:"4050"`
}
