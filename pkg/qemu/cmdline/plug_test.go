package cmdline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// TestPlugDevice plugs devices into a QEMU that started without them, and starts
// another with them: both must have the same.
func TestPlugDevice(t *testing.T) {
	const bare = "ostype: l26\nscsihw: virtio-scsi-single\nsockets: 2\ncores: 2\nvcpus: 1\nhotplug: cpu,disk,network,usb\ntablet: 0\ncpu: x86-64-v2-AES\n"
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"a.qcow2", "b.raw", "c.iso", "d.raw"} {
				w.disk(t, name, "8M")
			}
			devices := map[string]string{
				"scsi2": "local:100/a.qcow2,iothread=1,iops=50,ssd=1,wwn=0x5000c50015ea71aa,serial=123", "scsi3": "local:100/c.iso,media=cdrom",
				"virtio1": "local:100/b.raw,iothread=1,cache=writeback", "virtio7": "local:100/d.raw",
				"net1": "virtio=BC:24:11:00:00:01,queues=2", "net9": "e1000=BC:24:11:00:00:02", "tablet": "1",
			}
			keys := []string{"scsi2", "scsi3", "virtio1", "virtio7", "net1", "net9", "tablet"}
			if w.Spice != nil && machine == "q35" {
				devices["usb3"] = "spice"
				devices["vga"] = "qxl"
				keys = append(keys, "usb3")
			}
			whole := bare + "machine: " + machine + "\n"
			start := whole
			if devices["vga"] != "" {
				start += "vga: qxl\n"
			}
			for key, value := range devices {
				whole = strings.ReplaceAll(whole, key+": 0\n", "") + key + ": " + value + "\n"
			}
			m := w.start(t, append(w.compose(t, start).Argv, "-S"))
			vm := cmdline.VM{ID: 100, Config: parse(t, whole)}
			for _, key := range append(keys, "cpu2") {
				p, err := cmdline.PlugDevice(vm, w.Host, key)
				if err != nil {
					t.Fatal(err)
				}
				plug(t, m, p)
			}
			plugged := tree(t, m)
			if err := m.Quit(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.Paths.QMP += "2"
			m = w.start(t, append(w.compose(t, strings.Replace(whole, "vcpus: 1", "vcpus: 2", 1)).Argv, "-S"))
			if started := tree(t, m); !slices.Equal(plugged, started) {
				t.Errorf("plugged:\n%s\nstarted:\n%s", strings.Join(plugged, "\n"), strings.Join(started, "\n"))
			}
		})
	}
}

func parse(t *testing.T, config string) qemu.Config {
	t.Helper()
	p := schema.Params{}
	for line := range strings.Lines(config) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			p[key] = value
		}
	}
	var c qemu.Config
	if err := schema.Decode(p, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// plug gives QEMU what a device needs and it has not got.
func plug(t *testing.T, m *qmp.Monitor, p *cmdline.Plug) {
	t.Helper()
	have := peripherals(t, m)
	for _, step := range []struct {
		command string
		all     []map[string]any
	}{
		{"object-add", p.Objects}, {"chardev-add", p.Chardevs}, {"blockdev-add", p.Blockdevs}, {"netdev_add", p.Netdevs}, {"device_add", p.Devices},
	} {
		for _, args := range step.all {
			if id, _ := args["id"].(string); step.command == "device_add" && slices.Contains(have, id) {
				continue
			}
			if err := m.Call(t.Context(), step.command, args, nil); err != nil {
				t.Errorf("%s %v: %v", step.command, args, err)
			}
		}
	}
}

func peripherals(t *testing.T, m *qmp.Monitor) (names []string) {
	t.Helper()
	var all []struct{ Name, Type string }
	if err := m.Call(t.Context(), "qom-list", map[string]any{"path": "/machine/peripheral"}, &all); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		names = append(names, p.Name)
	}
	return names
}

// tree lists the devices that have ids, with their types and places on PCI.
func tree(t *testing.T, m *qmp.Monitor) []string {
	t.Helper()
	var all []struct{ Name, Type string }
	if err := m.Call(t.Context(), "qom-list", map[string]any{"path": "/machine/peripheral"}, &all); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range all {
		line := p.Name + " " + p.Type
		for _, property := range []string{"addr", "parent_bus", "drive", "serial", "wwn", "rotation_rate", "mac", "write-cache", "iothread", "vectors", "mq", "host_mtu", "device_id", "lun", "core-id", "socket-id"} {
			var value any
			if m.Call(t.Context(), "qom-get", map[string]any{"path": "/machine/peripheral/" + p.Name, "property": property}, &value) == nil {
				line += fmt.Sprintf(" %s=%v", property, value)
			}
		}
		if p.Name != "type" {
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}
