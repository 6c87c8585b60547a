package qemu

// CICustom is the value of cicustom.
type CICustom struct {
	Meta    *string `pve:"meta" doc:"" format:"pve-volume-id" hint:"volume"`
	Network *string `pve:"network" doc:"" format:"pve-volume-id" hint:"volume"`
	User    *string `pve:"user" doc:"" format:"pve-volume-id" hint:"volume"`
	Vendor  *string `pve:"vendor" doc:"" format:"pve-volume-id" hint:"volume"`
}

// IPConfig is the value of ipconfigN.
type IPConfig struct {
	Gateway  *string `pve:"gw" doc:"" format:"ipv4" requires:"ip" hint:"GatewayIPv4"`
	Gateway6 *string `pve:"gw6" doc:"" format:"ipv6" requires:"ip6" hint:"GatewayIPv6"`
	IP       *string `pve:"ip" doc:"" format:"pve-ipv4-config" default:"dhcp" hint:"IPv4Format/CIDR"`
	IP6      *string `pve:"ip6" doc:"" format:"pve-ipv6-config" default:"dhcp" hint:"IPv6Format/CIDR"`
}
