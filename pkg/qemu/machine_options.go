package qemu

// Machine is the value of machine.
type Machine struct {
	Type     *string  `pve:"type,default_key" doc:"" maxlen:"40" pattern:"(pc|pc(-i440fx)?-\\d+(\\.\\d+)+(\\+pve\\d+)?(\\.pxe)?|q35|pc-q35-\\d+(\\.\\d+)+(\\+pve\\d+)?(\\.pxe)?|virt(?:-\\d+(\\.\\d+)+)?(\\+pve\\d+)?)" hint:"machine type"`
	AWBits   *float64 `pve:"aw-bits" doc:"" min:"32" max:"64"`
	EnableS3 *bool    `pve:"enable-s3" doc:""`
	EnableS4 *bool    `pve:"enable-s4" doc:""`
	VIOMMU   *string  `pve:"viommu" doc:"" enum:"intel|virtio"`
}
