package qemu

// USB is a device of the host, by id, port or mapping, or a SPICE port (usbN).
type USB struct {
	Host    *string `pve:"host,default_key" doc:"Device by VENDOR:PRODUCT or BUS-PORT, or spice for redirection." pattern:"(?:(?:(?:(?:(0x)?([0-9A-Fa-f]{4}):(0x)?([0-9A-Fa-f]{4})))|(?:(?:(\\d+)\\-(\\d+(\\.\\d+)*)))|[Ss][Pp][Ii][Cc][Ee]))" hint:"HOSTUSBDEVICE|spice"`
	Mapping *string `pve:"mapping" doc:"Hardware mapping that names the device on each node." format:"pve-configid" hint:"mapping-id"`
	USB3    *bool   `pve:"usb3" doc:"Plug the device into a USB 3 port." default:"0"`
}
