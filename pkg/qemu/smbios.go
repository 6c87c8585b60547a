package qemu

// SMBIOS is the value of smbios1.
type SMBIOS struct {
	Base64       *bool   `pve:"base64" doc:""`
	Family       *string `pve:"family" doc:"" pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	Manufacturer *string `pve:"manufacturer" doc:"" pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	Product      *string `pve:"product" doc:"" pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	Serial       *string `pve:"serial" doc:"" pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	SKU          *string `pve:"sku" doc:"" pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
	UUID         *string `pve:"uuid" doc:"" pattern:"[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}" hint:"UUID"`
	Version      *string `pve:"version" doc:"" pattern:"[A-Za-z0-9+\\/]+={0,2}" hint:"Base64 encoded string"`
}
