package qemu

// SMBIOS is the system information the guest reads; old files have it unencoded (smbios1).
type SMBIOS struct {
	Base64       *bool   `pve:"base64" doc:"Say that the text values are base64 encoded."`
	Family       *string `pve:"family" doc:"Family of the system." pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	Manufacturer *string `pve:"manufacturer" doc:"Manufacturer of the system." pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	Product      *string `pve:"product" doc:"Product name of the system." pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	Serial       *string `pve:"serial" doc:"Serial number of the system." pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	SKU          *string `pve:"sku" doc:"Stock number of the system." pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	UUID         *string `pve:"uuid" doc:"UUID of the system." pattern:"[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}" hint:"UUID"`
	Version      *string `pve:"version" doc:"Version of the system." pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
}
