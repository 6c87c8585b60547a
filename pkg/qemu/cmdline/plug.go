package cmdline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Plug is what a running QEMU is given to get a device, as arguments of its
// monitor's commands, in the order of the fields. What the VM has already, by id
// or node name, is left out by the caller: the controller of a disk may be there.
// To take a device away, the same is done backwards.
type Plug struct {
	Objects   []map[string]any // object-add
	Chardevs  []map[string]any // chardev-add
	Blockdevs []map[string]any // blockdev-add
	Netdevs   []map[string]any // netdev_add
	Devices   []map[string]any // device_add; the last one is the device itself

	Volumes  []string // to activate first
	Taps     []Tap    // to make first
	LinkDown bool     // unplug the network card's cable afterwards
	Notes    []string
	Warnings []string
}

// PlugDevice returns what a running VM is given to get the device of an option:
// a disk on virtio or SCSI (of other buses: for what is in a CD drive), a network card, a USB device, tablet, or cpuN. It is
// the same device at the same place as the command line would have. vm.Machine is
// the type of the machine as it runs.
func PlugDevice(vm VM, host Host, key string) (*Plug, error) {
	c, err := newComposer(&vm, &host)
	if err != nil {
		return nil, err
	}
	if err := c.chooseDisplay(); err != nil {
		return nil, err
	}
	if err := c.plug(key); err != nil {
		return nil, err
	}
	return c.plugged()
}

// plug adds what belongs to one device.
func (c *composer) plug(key string) error {
	family, n, _ := schema.Member(key)
	switch family {
	case "virtio", "scsi", "ide", "sata":
		d, ok := c.conf.Drive(key)
		if !ok {
			return fmt.Errorf("%s is not configured", key)
		}
		return c.drive(d, map[string]bool{})
	case "net":
		net, ok := c.conf.Net[n]
		if !ok {
			return fmt.Errorf("%s is not configured", key)
		}
		return c.network(n, net)
	case "usb":
		usb, ok := c.conf.USB[n]
		if !ok {
			return fmt.Errorf("%s is not configured", key)
		}
		if n >= oldUSBDevices && !c.fastUSB() {
			return fmt.Errorf("using usb%d is only possible with machine type >= 7.1 and ostype l26 or windows > 7", n)
		}
		c.device("qemu-xhci", append([]string{"p2", "15", "p3", "15", "id", "xhci"}, c.at("xhci")...)...)
		return c.usb(n, usb, itoa(n+1))
	case "cpu":
		device, err := c.processor(n, max(1, num(c.conf.Cores, 1)))
		c.add("-device", device)
		return err
	}
	if key == "tablet" {
		return c.tablet()
	}
	return fmt.Errorf("can't hotplug device '%s'", key)
}

// plugged turns the words of the command line into arguments of commands.
func (c *composer) plugged() (*Plug, error) {
	p := &Plug{Volumes: c.out.Volumes, Taps: c.out.Taps, LinkDown: len(c.out.LinkDown) > 0, Notes: c.out.Notes, Warnings: c.out.Warnings}
	var devices []map[string]any
	words := slices.Concat(c.args, c.devices)
	for i := 0; i+1 < len(words); i += 2 {
		switch value := words[i+1]; words[i] {
		case "-object":
			p.Objects = append(p.Objects, arguments("qom-type", value))
		case "-blockdev":
			p.Blockdevs = append(p.Blockdevs, arguments("driver", value))
		case "-netdev":
			p.Netdevs = append(p.Netdevs, arguments("", value))
		case "-device":
			devices = append(devices, arguments("driver", value))
		case "-chardev":
			o := arguments("type", value)
			p.Chardevs = append(p.Chardevs, map[string]any{
				"id": o["id"], "backend": map[string]any{"type": o["type"], "data": map[string]any{"type": o["name"]}},
			})
		default:
			return nil, fmt.Errorf("%s cannot be given to a running QEMU", words[i])
		}
	}
	p.Devices = append(c.plugBridges(), devices...)
	return p, nil
}

// plugBridges are the bridges in front of the devices, which a machine that
// started without them needs.
func (c *composer) plugBridges() []map[string]any {
	var list []map[string]any
	if c.bridges[4] {
		c.bridges[1] = true
	}
	for n := 1; n <= 4; n++ {
		if !c.bridges[n] || c.machine.q35 && n < 4 {
			continue
		}
		id := fmt.Sprintf("pci.%d", n)
		if s, ok := place(id); ok {
			list = append(list, arguments("driver", option("pci-bridge", append([]string{"id", id, "chassis_nr", itoa(n)}, c.onBus(s)...)...)))
		}
	}
	return list
}

// arguments turns an option into the arguments of a command; first is the key of
// its first word. Since 9.2 QEMU insists on types.
func arguments(first, text string) map[string]any {
	if strings.HasPrefix(text, "{") {
		return parseTree(text)
	}
	all := map[string]any{}
	for i, part := range splitOption(text) {
		key, value, named := strings.Cut(part, "=")
		if i == 0 && !named {
			all[first] = part
			continue
		}
		all[key] = typed(key, value)
	}
	return all
}

// splitOption cuts an option at its commas, of which doubled ones stand for
// themselves.
func splitOption(text string) []string {
	const comma = "\x00"
	parts := strings.Split(strings.ReplaceAll(text, ",,", comma), ",")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], comma, ",")
	}
	return parts
}

// typed returns the value of a property in its type.
func typed(key, value string) any {
	switch key {
	case "mq", "multifunction", "host_tunnel", "vhost":
		return value == "on"
	case "scsi-id", "channel", "lun", "unit", "bootindex", "rotation_rate", "vectors", "rx_queue_size", "tx_queue_size", "host_mtu", "queues",
		"num_queues", "p2", "p3", "chassis_nr", "socket-id", "core-id", "thread-id", "hostbus", "vendorid", "productid", "wwn":
		if n, err := strconv.ParseUint(value, 0, 64); err == nil {
			return n
		}
	}
	return value
}

// HotplugFeatures tells what may be changed while a VM runs: network, disk, usb, cpu,
// memory, cloudinit.
func HotplugFeatures(conf *qemu.Config) map[string]bool { return hotplugFeatures(conf.Hotplug) }

// PlugsUSB tells whether USB devices can be plugged into a VM while it runs: where they
// are all on one controller.
func PlugsUSB(vm VM, host Host) (bool, error) {
	c, err := newComposer(&vm, &host)
	if err != nil {
		return false, err
	}
	return c.fastUSB(), nil
}
