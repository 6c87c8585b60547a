package cmdline

import (
	"crypto/sha256"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// Tap is a network interface of the host that a network card of the guest is
// wired to. It is there before QEMU starts.
type Tap struct {
	Name   string
	Option string // such as net0
	Queues int    // more than one makes it a multi-queue device
	Vhost  bool
	MAC    string
	Net    qemu.Net // bridge, tag, rate and so on
}

const maxInterfaceName = 15 // IFNAMSIZ less its final NUL

// networks adds network cards.
func (c *composer) networks() error {
	for n := range 32 {
		net, ok := c.conf.Net[n]
		if !ok {
			continue
		}
		if err := c.network(n, net); err != nil {
			return err
		}
	}
	return nil
}

func (c *composer) network(n int, net qemu.Net) error {
	key := fmt.Sprintf("net%d", n)
	backend, err := c.netBackend(n, key, net)
	if err != nil {
		return err
	}
	device, err := c.netDevice(key, net)
	if err != nil {
		return err
	}
	c.add("-netdev", backend, "-device", device)
	if flag(net.LinkDown, false) {
		c.out.LinkDown = append(c.out.LinkDown, key)
	}
	return nil
}

// netBackend is the host's end of a network card: a tap device, or without a
// bridge a network inside QEMU that reaches out as QEMU does.
func (c *composer) netBackend(n int, key string, net qemu.Net) (string, error) {
	virtio := net.Model == "virtio"
	queues := 0
	if virtio {
		queues = num(net.Queues, 0)
	}
	if net.Bridge == nil {
		return option("", "type", "user", "id", key, "hostname", c.name()), nil
	}
	name := fmt.Sprintf("tap%di%d", c.vm.ID, n)
	if len(name) > maxInterfaceName {
		return "", fmt.Errorf("interface name '%s' is too long (max %d character)", name, maxInterfaceName)
	}
	vhost := virtio && c.host.VhostNet && c.arch == c.host.Arch
	c.out.Taps = append(c.out.Taps, Tap{Name: name, Option: key, Queues: queues, Vhost: vhost, MAC: MAC(c.vm, key, net), Net: net})
	return option("", "type", "tap", "id", key, "ifname", name, "script", "no", "downscript", "no",
		"vhost", ifSet(vhost, "on"), "queues", ifSet(queues > 0, itoa(queues))), nil
}

// MAC is the address of a network card: the configured one. One without gets an
// address that follows from the VM and the card, so that it keeps it.
func MAC(vm *VM, key string, net qemu.Net) string {
	if net.MAC != nil {
		return *net.MAC
	}
	sum := sha256.Sum256([]byte(vm.ID.String() + " " + key))
	return fmt.Sprintf("BC:24:11:%02X:%02X:%02X", sum[0], sum[1], sum[2])
}

// netDevice is the guest's end of a network card.
func (c *composer) netDevice(key string, net qemu.Net) (string, error) {
	driver, virtio := net.Model, net.Model == "virtio"
	if virtio {
		driver = "virtio-net-pci"
	}
	pairs := []string{"mac", MAC(c.vm, key, net), "netdev", key}
	if driver != "ne2k_isa" {
		pairs = append(pairs, c.at(key)...)
	}
	pairs = append(pairs, "id", key)
	if queues := num(net.Queues, 0); queues > 1 && virtio {
		// A vector for each direction of each queue, one for changes, one for control.
		pairs = append(pairs, "vectors", itoa(2*queues+2), "mq", "on")
	}
	if virtio && c.machine.version.atLeast(7, 1) {
		pairs = append(pairs, "rx_queue_size", "1024", "tx_queue_size", "256")
	}
	pairs = append(pairs, "bootindex", c.bootIndex(key))
	mtu, err := c.hostMTU(key, net)
	if err != nil {
		return "", err
	}
	pairs = append(pairs, "host_mtu", mtu)
	if virtio && c.machine.version.atLeast(10, 2) && c.host.QEMU.hasProperty(driver, "host_tunnel") {
		pairs = append(pairs, "host_tunnel", onOff(flag(net.HostTunnel, false)))
	}
	if c.machine.oldROM {
		pairs = append(pairs, "romfile", oldROM(driver))
	}
	return option(driver, pairs...), nil
}

// hostMTU is the MTU that the guest is told, empty for none.
func (c *composer) hostMTU(key string, net qemu.Net) (string, error) {
	forced, isForced := c.vm.HostMTU[key]
	if isForced && forced == 0 {
		c.note("netdev %s: not adding 'host_mtu' parameter for migration compat", key)
	}
	if net.Model != "virtio" || net.Bridge == nil || isForced && forced == 0 {
		if net.MTU != nil {
			why := "not using VirtIO"
			if isForced && forced == 0 {
				why = "not used on the source side according to migration parameters"
			} else if net.Bridge == nil {
				why = "no bridge configured"
			}
			c.warn("netdev %s: ignoring MTU '%d', %s", key, *net.MTU, why)
		}
		return "", nil
	}
	bridge, err := c.host.bridgeMTU(*net.Bridge)
	if err != nil {
		return "", fmt.Errorf("netdev %s: %w", key, err)
	}
	mtu := num(net.MTU, 1)
	if isForced {
		c.note("netdev %s: using 'host_mtu=%d' for migration compat", key, forced)
		mtu = forced
	}
	switch {
	case mtu == 1:
		mtu = bridge
	case mtu < 576:
		return "", fmt.Errorf("netdev %s: MTU '%d' is smaller than the IP minimum MTU '576'", key, mtu)
	case mtu > bridge:
		return "", fmt.Errorf("netdev %s: MTU '%d' is bigger than the bridge MTU '%d' - adjust the MTU for the network device"+
			" in the VM configuration, while ensuring that the bridge is configured as desired.", key, mtu, bridge)
	}
	// That the option is there at all changes the device.
	if mtu == 1500 && !isForced && !c.machine.version.atLeast(10, 0, 1) {
		return "", nil
	}
	return itoa(mtu), nil
}

// oldROM is the ROM, without UEFI, that network cards of old machines boot from.
func oldROM(driver string) string {
	return map[string]string{
		"virtio-net-pci": "pxe-virtio.rom", "e1000": "pxe-e1000.rom", "e1000e": "pxe-e1000e.rom",
		"ne2k_pci": "pxe-ne2k_pci.rom", "pcnet": "pxe-pcnet.rom", "rtl8139": "pxe-rtl8139.rom",
	}[driver]
}
