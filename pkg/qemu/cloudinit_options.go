package qemu

// CICustom names the snippets that replace parts of the cloud-init data (cicustom).
type CICustom struct {
	Meta    *string `pve:"meta" doc:"Snippet volume used in place of the generated meta data." format:"pve-volume-id" hint:"volume"`
	Network *string `pve:"network" doc:"Snippet volume used in place of the generated network data." format:"pve-volume-id" hint:"volume"`
	User    *string `pve:"user" doc:"Snippet volume used in place of the generated user data." format:"pve-volume-id" hint:"volume"`
	Vendor  *string `pve:"vendor" doc:"Snippet volume with the vendor data." format:"pve-volume-id" hint:"volume"`
}

// IPConfig is what cloud-init sets up on the network card of the same number (ipconfigN).
type IPConfig struct {
	Gateway  *string `pve:"gw" doc:"Default gateway for IPv4." format:"ipv4" requires:"ip" hint:"GatewayIPv4"`
	Gateway6 *string `pve:"gw6" doc:"Default gateway for IPv6." format:"ipv6" requires:"ip6" hint:"GatewayIPv6"`
	IP       *string `pve:"ip" doc:"IPv4 address with prefix length, or dhcp." format:"pve-ipv4-config" default:"dhcp" hint:"IPv4Format/CIDR"`
	IP6      *string `pve:"ip6" doc:"IPv6 address with prefix length, or dhcp, or auto." format:"pve-ipv6-config" default:"dhcp" hint:"IPv6Format/CIDR"`
}
