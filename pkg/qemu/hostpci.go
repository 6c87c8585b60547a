package qemu

// HostPCI is the value of hostpciN.
type HostPCI struct {
	Host        *string `pve:"host,default_key" doc:"" pattern:"(?:(?:(?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\\.[a-f0-9])?)(;(?:(?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\\.[a-f0-9])?))*)" hint:"HOSTPCIID[;HOSTPCIID2...]"`
	DeviceID    *string `pve:"device-id" doc:"" pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	Driver      *string `pve:"driver" doc:"" enum:"vfio|keep" default:"vfio"`
	LegacyIGD   *bool   `pve:"legacy-igd" doc:"" default:"0"`
	Mapping     *string `pve:"mapping" doc:"" format:"pve-configid" hint:"mapping-id"`
	MDev        *string `pve:"mdev" doc:"" pattern:"[^/\\.:]+" hint:"string"`
	PCIe        *bool   `pve:"pcie" doc:"" default:"0"`
	ROMBar      *bool   `pve:"rombar" doc:"" default:"1"`
	ROMFile     *string `pve:"romfile" doc:"" pattern:"[^,;]+" hint:"string"`
	SubDeviceID *string `pve:"sub-device-id" doc:"" pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	SubVendorID *string `pve:"sub-vendor-id" doc:"" pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	VendorID    *string `pve:"vendor-id" doc:"" pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	XVGA        *bool   `pve:"x-vga" doc:"" default:"0"`
}
