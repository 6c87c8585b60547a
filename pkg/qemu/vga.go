package qemu

// Spice is the extras of the SPICE console (spice_enhancements).
type Spice struct {
	FolderSharing  *bool   `pve:"foldersharing" doc:"Let the viewer share a folder with the guest through WebDAV." default:"0"`
	VideoStreaming *string `pve:"videostreaming" doc:"Which parts of the screen are compressed as video." enum:"off|all|filter" default:"off"`
}

// VGA is the graphics card, or the serial port that stands in for one (vga).
type VGA struct {
	Type      *string `pve:"type,default_key" doc:"Model of the card, or the serial port to use as the console." enum:"cirrus|qxl|qxl2|qxl3|qxl4|none|serial0|serial1|serial2|serial3|std|virtio|virtio-gl|vmware" default:"std"`
	Clipboard *string `pve:"clipboard" doc:"Share the clipboard with a VNC viewer instead of SPICE." enum:"vnc"`
	Memory    *int    `pve:"memory" doc:"Video memory in MiB." min:"4" max:"512"`
}
