package qemu

// Net is a network card; model and MAC address are one word in the file, MODEL=MAC (netN).
type Net struct {
	Model      string   `pve:"model,default_key" doc:"Model of the network card; virtio is the fastest." enum:"e1000|e1000-82540em|e1000-82544gc|e1000-82545em|e1000e|i82551|i82557b|i82559er|ne2k_isa|ne2k_pci|pcnet|rtl8139|virtio|vmxnet3"`
	Bridge     *string  `pve:"bridge" doc:"Bridge to join; without one the guest gets NAT in user mode." format:"pve-bridge-id" hint:"bridge"`
	Firewall   *bool    `pve:"firewall" doc:"Filter the traffic of this card with the firewall."`
	HostTunnel *bool    `pve:"host-tunnel" doc:"Let a virtio card pass on offloads of tunnelled packets."`
	LinkDown   *bool    `pve:"link_down" doc:"Show the guest an unplugged cable."`
	MAC        *string  `pve:"macaddr" doc:"MAC address; unset means a random one is chosen and kept." format:"mac-addr" hint:"XX:XX:XX:XX:XX:XX" keyalias:"model"`
	MTU        *int     `pve:"mtu" doc:"MTU of a virtio card in bytes; 1 takes that of the bridge." min:"1" max:"65520"`
	Queues     *int     `pve:"queues" doc:"Number of packet queues of a virtio card." min:"0" max:"64"`
	Rate       *float64 `pve:"rate" doc:"Bandwidth limit in MiB/s." min:"0"`
	Tag        *int     `pve:"tag" doc:"VLAN the card's packets get." min:"1" max:"4094"`
	Trunks     *string  `pve:"trunks" doc:"VLANs the guest may use itself, separated by semicolons." pattern:"(?:\\d+(?:-\\d+)?(?:;\\d+(?:-\\d+)?)*)" hint:"vlanid[;vlanid...]"`
}
