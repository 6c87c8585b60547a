package qemu

// HostPCI is a PCI device of the host, by address or by mapping (hostpciN).
type HostPCI struct {
	Host        *string `pve:"host,default_key" doc:"Address of the device, or several with semicolons between them." pattern:"(?:(?:(?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\\.[a-f0-9])?)(;(?:(?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\\.[a-f0-9])?))*)" hint:"HOSTPCIID[;HOSTPCIID2...]"`
	DeviceID    *string `pve:"device-id" doc:"Device id shown to the guest instead of the real one." pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	Driver      *string `pve:"driver" doc:"Whether to bind the device to vfio or keep its driver." enum:"vfio|keep" default:"vfio"`
	LegacyIGD   *bool   `pve:"legacy-igd" doc:"Hand through an Intel graphics unit as the only, primary one." default:"0"`
	Mapping     *string `pve:"mapping" doc:"Hardware mapping that names the device on each node." format:"pve-configid" hint:"mapping-id"`
	MDev        *string `pve:"mdev" doc:"Type of the mediated device to make, such as nvidia-37." pattern:"[^/\\.:]+" hint:"string"`
	PCIe        *bool   `pve:"pcie" doc:"Show the device on PCI Express; only with machine type q35." default:"0"`
	ROMBar      *bool   `pve:"rombar" doc:"Show the guest the ROM of the device." default:"1"`
	ROMFile     *string `pve:"romfile" doc:"File with a ROM image for the device, below the firmware directory." pattern:"[^,;]+" hint:"string"`
	SubDeviceID *string `pve:"sub-device-id" doc:"Subsystem device id shown to the guest instead of the real one." pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	SubVendorID *string `pve:"sub-vendor-id" doc:"Subsystem vendor id shown to the guest instead of the real one." pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	VendorID    *string `pve:"vendor-id" doc:"Vendor id shown to the guest instead of the real one." pattern:"(?:^0x[0-9a-fA-F]{4}$)" hint:"hex id"`
	XVGA        *bool   `pve:"x-vga" doc:"Use the device as the primary graphics card." default:"0"`
}
