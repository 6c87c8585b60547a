package qemu

// Spice is the value of spice_enhancements.
type Spice struct {
	FolderSharing  *bool   `pve:"foldersharing" doc:"" default:"0"`
	VideoStreaming *string `pve:"videostreaming" doc:"" enum:"off|all|filter" default:"off"`
}

// VGA is the value of vga.
type VGA struct {
	Type      *string `pve:"type,default_key" doc:"" enum:"cirrus|qxl|qxl2|qxl3|qxl4|none|serial0|serial1|serial2|serial3|std|virtio|virtio-gl|vmware" default:"std"`
	Clipboard *string `pve:"clipboard" doc:"" enum:"vnc"`
	Memory    *int    `pve:"memory" doc:"" min:"4" max:"512"`
}
