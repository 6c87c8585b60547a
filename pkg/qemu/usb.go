package qemu

// USB is the value of usbN.
type USB struct {
	Host    *string `pve:"host,default_key" doc:"" pattern:"(?:(?:(?:(?:(0x)?([0-9A-Fa-f]{4}):(0x)?([0-9A-Fa-f]{4})))|(?:(?:(\\d+)\\-(\\d+(\\.\\d+)*)))|[Ss][Pp][Ii][Cc][Ee]))" hint:"HOSTUSBDEVICE|spice"`
	Mapping *string `pve:"mapping" doc:"" format:"pve-configid" hint:"mapping-id"`
	USB3    *bool   `pve:"usb3" doc:"" default:"0"`
}
