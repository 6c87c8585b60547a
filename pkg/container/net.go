package container

// Net is a network card: one end of a pair whose other end is on the host (netN).
type Net struct {
	Name        string   `pve:"name" doc:"Name of the card in the container." pattern:"[-_.\\w\\d]+" hint:"string"`
	Bridge      *string  `pve:"bridge" doc:"Bridge to join." pattern:"[-_.\\w\\d]+" hint:"bridge"`
	Firewall    *bool    `pve:"firewall" doc:"Filter the traffic of this card with the firewall."`
	Gateway     *string  `pve:"gw" doc:"Gateway for IPv4." format:"ipv4" hint:"GatewayIPv4"`
	Gateway6    *string  `pve:"gw6" doc:"Gateway for IPv6." format:"ipv6" hint:"GatewayIPv6"`
	HostManaged *bool    `pve:"host-managed" doc:"Let the host set addresses and routes, not the container."`
	HWAddr      *string  `pve:"hwaddr" doc:"MAC address; unset means a random one is chosen and kept." format:"mac-addr" hint:"XX:XX:XX:XX:XX:XX"`
	IP          *string  `pve:"ip" doc:"IPv4 address with prefix length, dhcp or manual." format:"pve-ipv4-config" hint:"(IPv4/CIDR|dhcp|manual)"`
	IP6         *string  `pve:"ip6" doc:"IPv6 address with prefix length, auto, dhcp or manual." format:"pve-ipv6-config" hint:"(IPv6/CIDR|auto|dhcp|manual)"`
	LinkDown    *bool    `pve:"link_down" doc:"Show the container an unplugged cable."`
	MTU         *int     `pve:"mtu" doc:"MTU in bytes; unset takes that of the bridge." min:"64" max:"65535"`
	Rate        *float64 `pve:"rate" doc:"Bandwidth limit in MB/s." hint:"mbps"`
	Tag         *int     `pve:"tag" doc:"VLAN the card's packets get." min:"1" max:"4094"`
	Trunks      *string  `pve:"trunks" doc:"VLANs the container may use itself, separated by semicolons." pattern:"(?:\\d+(?:;\\d+)*)" hint:"vlanid[;vlanid...]"`
	Type        *string  `pve:"type" doc:"Kind of card." enum:"veth"`
}
