package qemu

// Net is the value of netN.
type Net struct {
	Model      string   `pve:"model,default_key" doc:"" enum:"e1000|e1000-82540em|e1000-82544gc|e1000-82545em|e1000e|i82551|i82557b|i82559er|ne2k_isa|ne2k_pci|pcnet|rtl8139|virtio|vmxnet3"`
	Bridge     *string  `pve:"bridge" doc:"" format:"pve-bridge-id" hint:"bridge"`
	Firewall   *bool    `pve:"firewall" doc:""`
	HostTunnel *bool    `pve:"host-tunnel" doc:""`
	LinkDown   *bool    `pve:"link_down" doc:""`
	MAC        *string  `pve:"macaddr" doc:"" format:"mac-addr" hint:"XX:XX:XX:XX:XX:XX" keyalias:"model"`
	MTU        *int     `pve:"mtu" doc:"" min:"1" max:"65520"`
	Queues     *int     `pve:"queues" doc:"" min:"0" max:"64"`
	Rate       *float64 `pve:"rate" doc:"" min:"0"`
	Tag        *int     `pve:"tag" doc:"" min:"1" max:"4094"`
	Trunks     *string  `pve:"trunks" doc:"" pattern:"(?:\\d+(?:-\\d+)?(?:;\\d+(?:-\\d+)?)*)" hint:"vlanid[;vlanid...]"`
}
