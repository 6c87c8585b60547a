package qemu

// Machine is the machine type and its virtual IOMMU (machine).
type Machine struct {
	Type     *string  `pve:"type,default_key" doc:"Machine type, with or without a version." maxlen:"40" pattern:"(pc|pc(-i440fx)?-\\d+(\\.\\d+)+(\\+pve\\d+)?(\\.pxe)?|q35|pc-q35-\\d+(\\.\\d+)+(\\+pve\\d+)?(\\.pxe)?|virt(?:-\\d+(\\.\\d+)+)?(\\+pve\\d+)?)" hint:"machine type"`
	AWBits   *float64 `pve:"aw-bits" doc:"Address width of the virtual IOMMU in bits." min:"32" max:"64"`
	EnableS3 *bool    `pve:"enable-s3" doc:"Offer the guest suspend to RAM."`
	EnableS4 *bool    `pve:"enable-s4" doc:"Offer the guest suspend to disk."`
	VIOMMU   *string  `pve:"viommu" doc:"Kind of virtual IOMMU to add." enum:"intel|virtio"`
}
