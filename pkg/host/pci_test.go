package host_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// lay makes files below a folder; a text that begins with "-> " makes a link.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// machine is a host with a card of two functions, a bridge in the same IOMMU group, and
// a card that can be shared out.
func machine(t *testing.T) host.Sys {
	t.Helper()
	dir := t.TempDir()
	const pci = "bus/pci/devices/"
	lay(t, dir, map[string]string{
		pci + "0000:00:01.0/vendor":                                             "0x8086\n",
		pci + "0000:00:01.0/class":                                              "0x060400\n",
		pci + "0000:00:01.0/pci_bus/x":                                          "",
		pci + "0000:00:01.0/iommu_group":                                        "-> ../../../kernel/iommu_groups/7",
		pci + "0000:01:00.0/vendor":                                             "0x10de\n",
		pci + "0000:01:00.0/device":                                             "0x1b80\n",
		pci + "0000:01:00.0/class":                                              "0x030000\n",
		pci + "0000:01:00.0/subsystem_vendor":                                   "0x1458\n",
		pci + "0000:01:00.0/subsystem_device":                                   "0x3702\n",
		pci + "0000:01:00.0/driver":                                             "-> ../../drivers/nouveau",
		pci + "0000:01:00.0/driver_override":                                    "(null)\n",
		pci + "0000:01:00.0/reset":                                              "",
		pci + "0000:01:00.0/iommu_group":                                        "-> ../../../../kernel/iommu_groups/7",
		pci + "0000:01:00.1/vendor":                                             "0x10de\n",
		pci + "0000:01:00.1/device":                                             "0x10f0\n",
		pci + "0000:01:00.1/driver_override":                                    "(null)\n",
		pci + "0000:01:00.1/iommu_group":                                        "-> ../../../../kernel/iommu_groups/7",
		pci + "0000:02:00.0/vendor":                                             "0x10de\n",
		pci + "0000:02:00.0/device":                                             "0x2231\n",
		pci + "0000:02:00.0/nvidia/current_vgpu_type":                           "0\n",
		pci + "0000:02:00.0/nvidia/creatable_vgpu_types":                        "ID    : vGPU Name\n557   : NVIDIA A-1B\n558   : NVIDIA A-2B\n",
		pci + "0000:03:00.0/vendor":                                             "0x8086\n",
		pci + "0000:03:00.0/mdev_supported_types/i915-V5_4/available_instances": "1\n",
		pci + "0000:03:00.0/mdev_supported_types/i915-V5_4/description":         "low_gm_size: 128MB\n",
		pci + "0000:03:00.0/mdev_supported_types/i915-V5_4/create":              "",
		pci + "0000:03:00.0/mdev_supported_types/i915-V5_8/available_instances": "0\n",
		"bus/pci/drivers/nouveau/unbind":                                        "",
		"bus/pci/drivers/vfio-pci/unbind":                                       "",
		"bus/pci/drivers_probe":                                                 "",
		"class/iommu/dmar0":                                                     "",
		"kernel/iommu_groups/7/devices/0000:00:01.0":                            "",
		"kernel/iommu_groups/7/devices/0000:01:00.0":                            "",
		"kernel/iommu_groups/7/devices/0000:01:00.1":                            "",
	})
	return host.Sys(dir)
}

// kernel does what the kernel does when its files are written to.
type kernel struct {
	dir      string
	override map[string]string
	stubborn bool
	log      []string
}

func (k *kernel) write(path, text string) error {
	rel, err := filepath.Rel(k.dir, path)
	if err != nil {
		return err
	}
	k.log = append(k.log, text+" > "+rel)
	switch filepath.Base(path) {
	case "driver_override":
		k.override[filepath.Base(filepath.Dir(path))] = text
	case "unbind":
		return os.Remove(filepath.Join(k.dir, "bus/pci/devices", text, "driver"))
	case "drivers_probe":
		if !k.stubborn {
			return os.Symlink("../../drivers/"+k.override[text], filepath.Join(k.dir, "bus/pci/devices", text, "driver"))
		}
	}
	return nil
}

func passthrough(sys host.Sys) (host.Passthrough, *kernel) {
	k := &kernel{dir: string(sys), override: map[string]string{}}
	return host.Passthrough{Sys: sys, Run: run.NewFake(), Write: k.write}, k
}

func TestFindPCI(t *testing.T) {
	sys := machine(t)
	tests := []struct {
		name, address string
		want          []string
	}{
		{"one function", "0000:01:00.1", []string{"0000:01:00.1"}},
		{"no domain", "01:00.0", []string{"0000:01:00.0"}},
		{"all functions", "01:00", []string{"0000:01:00.0", "0000:01:00.1"}},
		{"part of a number", "01:0", nil},
		{"none", "0f:00.0", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, err := sys.FindPCI(tt.address)
			var got []string
			for _, d := range found {
				got = append(got, d.Address)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if tt.want == nil && (err == nil || err.Error() != "no PCI device found for '"+tt.address+"'") {
				t.Errorf("error %v", err)
			}
		})
	}
	d, ok := sys.PCIDevice("0000:01:00.0")
	want := host.PCIDevice{
		Address: "0000:01:00.0", Vendor: "0x10de", Device: "0x1b80", SubVendor: "0x1458", SubDevice: "0x3702", Class: "0x030000",
		Driver: "nouveau", IOMMUGroup: 7, Reset: true,
	}
	if diff := cmp.Diff(want, d); !ok || diff != "" {
		t.Error(ok, diff)
	}
}

func TestMDevTypes(t *testing.T) {
	sys := machine(t)
	for address, want := range map[string][]host.MDevType{
		"03:00.0": {{Type: "i915-V5_4", Description: "low_gm_size: 128MB", Available: 1}, {Type: "i915-V5_8"}},
		"02:00.0": {{Type: "nvidia-557", Name: "NVIDIA A-1B", Available: 1}, {Type: "nvidia-558", Name: "NVIDIA A-2B", Available: 1}},
		"01:00.0": nil,
	} {
		got, err := sys.MDevTypes(address)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(address, err, diff)
		}
	}
}

func TestPrepare(t *testing.T) {
	const dev = "bus/pci/devices/"
	uuid := host.MDevUUID(8006, 1)
	if uuid != "00000001-0000-0000-0000-000000008006" {
		t.Error(uuid)
	}
	tests := []struct {
		name, address string
		share         host.Share
		change        func(t *testing.T, dir string)
		stubborn      bool
		err           string
		log           []string
	}{
		{name: "whole group", address: "0000:01:00.0", log: []string{
			"vfio-pci > " + dev + "0000:01:00.0/driver_override", "0000:01:00.0 > " + dev + "0000:01:00.0/driver/unbind", "0000:01:00.0 > bus/pci/drivers_probe",
			"vfio-pci > " + dev + "0000:01:00.1/driver_override", "0000:01:00.1 > bus/pci/drivers_probe",
			"1 > " + dev + "0000:01:00.0/reset",
		}},
		{
			name: "no iommu", address: "0000:01:00.0", err: "cannot prepare PCI pass-through, IOMMU not present",
			change: func(t *testing.T, dir string) { _ = os.RemoveAll(filepath.Join(dir, "class/iommu")) },
		},
		{name: "not there", address: "0000:0f:00.0", err: "no pci device info for device '0000:0f:00.0'"},
		{name: "no group", address: "0000:02:00.0", err: "cannot open iommu_group: "},
		{
			name: "driver keeps it", address: "0000:01:00.0", stubborn: true, err: `cannot bind 0000:01:00.0 to vfio: its driver is "" then`,
			log: []string{"vfio-pci > " + dev + "0000:01:00.0/driver_override", "0000:01:00.0 > " + dev + "0000:01:00.0/driver/unbind", "0000:01:00.0 > bus/pci/drivers_probe"},
		},
		{
			name: "no vfio", address: "0000:01:00.0", err: "cannot find vfio-pci module: modprobe: not among the recorded exchanges: modprobe vfio-pci",
			change: func(t *testing.T, dir string) { _ = os.RemoveAll(filepath.Join(dir, "bus/pci/drivers/vfio-pci")) },
		},
		{
			name: "mdev", address: "0000:03:00.0", share: host.Share{MDev: "i915-V5_4", UUID: uuid},
			log: []string{uuid + " > " + dev + "0000:03:00.0/mdev_supported_types/i915-V5_4/create"},
		},
		{name: "mdev used up", address: "0000:03:00.0", share: host.Share{MDev: "i915-V5_8", UUID: uuid}, err: "pci device '0000:03:00.0' has no available instances of 'i915-V5_8'"},
		{name: "mdev unknown", address: "0000:03:00.0", share: host.Share{MDev: "x", UUID: uuid}, err: "pci device '0000:03:00.0' has no type 'x'"},
		{name: "no mdev", address: "0000:01:00.0", share: host.Share{MDev: "x", UUID: uuid}, err: "pci device '0000:01:00.0' does not support mediated devices"},
		{
			name: "mdev of another kind", address: "0000:03:00.0", share: host.Share{MDev: "i915-V5_4", UUID: uuid},
			change: func(t *testing.T, dir string) {
				lay(t, dir, map[string]string{dev + "0000:03:00.0/" + uuid + "/mdev_type": "-> ../mdev_supported_types/i915-V5_8"})
			},
			err: "mdev instance '" + uuid + "' already exits, but type is not 'i915-V5_4'",
		},
		{
			name: "nvidia", address: "0000:02:00.0", share: host.Share{NVIDIA: "557"},
			log: []string{"557 > " + dev + "0000:02:00.0/nvidia/current_vgpu_type"},
		},
		{name: "nvidia unknown", address: "0000:02:00.0", share: host.Share{NVIDIA: "1"}, err: "vgpu type '1' not available for '0000:02:00.0'"},
		{name: "not nvidia", address: "0000:01:00.0", share: host.Share{NVIDIA: "1"}, err: "no nvidia sysfs api for '0000:01:00.0'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sys := machine(t)
			if tt.change != nil {
				tt.change(t, string(sys))
			}
			p, k := passthrough(sys)
			k.stubborn = tt.stubborn
			err := p.Prepare(t.Context(), tt.address, tt.share)
			if (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.log, k.log); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPrepareAny(t *testing.T) {
	p, _ := passthrough(machine(t))
	share := host.Share{MDev: "i915-V5_4", UUID: "u"}
	got, err := p.PrepareAny(t.Context(), []string{"0000:01:00.0", "0000:03:00.0"}, share)
	if got != "0000:03:00.0" || err != nil {
		t.Error(got, err)
	}
	_, err = p.PrepareAny(t.Context(), []string{"0000:01:00.0"}, share)
	if want := "could not create mediated device\npci device '0000:01:00.0' does not support mediated devices"; err == nil || err.Error() != want {
		t.Error(err)
	}
}

func TestPrepareDry(t *testing.T) {
	p, k := passthrough(machine(t))
	var out bytes.Buffer
	ctx := plan.With(t.Context(), plan.New(&out))
	err := errors.Join(
		p.Prepare(ctx, "0000:01:00.0", host.Share{}),
		p.Prepare(ctx, "0000:02:00.0", host.Share{NVIDIA: "557"}),
		p.Prepare(ctx, "0000:03:00.0", host.Share{MDev: "i915-V5_4", UUID: "u"}),
	)
	want := "bind PCI device 0000:01:00.0 to vfio-pci\nbind PCI device 0000:01:00.1 to vfio-pci\n" +
		"set vgpu type of 0000:02:00.0 to 557\nmake mediated device u of 0000:03:00.0\n"
	if diff := cmp.Diff(want, out.String()); err != nil || diff != "" || k.log != nil {
		t.Error(err, diff, k.log)
	}
}

func TestRealPCI(t *testing.T) {
	found, err := host.Sys("/sys").PCIDevices()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("no PCI devices on this machine")
	}
	for _, d := range found {
		if d.Vendor == "" || d.Class == "" {
			t.Errorf("%+v", d)
		}
	}
	t.Logf("%d devices, the first: %+v", len(found), found[0])
}

func TestFindUSB(t *testing.T) {
	dir := t.TempDir()
	const usb = "bus/usb/devices/"
	lay(t, dir, map[string]string{
		usb + "usb1/idVendor": "1d6b\n", usb + "usb1/idProduct": "0002\n", usb + "usb1/busnum": "1\n", usb + "usb1/devnum": "1\n", usb + "usb1/bDeviceClass": "09\n",
		usb + "1-2.1/idVendor": "046d\n", usb + "1-2.1/idProduct": "c52b\n", usb + "1-2.1/busnum": "1\n", usb + "1-2.1/devnum": "5\n",
		usb + "1-2.1/product": "USB Receiver\n", usb + "1-2.1/speed": "12\n", usb + "1-2.1/bDeviceClass": "00\n",
		usb + "1-2.1:1.0/bInterfaceClass": "03\n",
	})
	sys := host.Sys(dir)
	want := host.USBDevice{Vendor: "046d", Product: "c52b", Bus: 1, Number: 5, Path: "2.1", Speed: "12", Name: "USB Receiver"}
	for _, where := range []string{"1-2.1", "046d:c52b", "0x046D:0xC52B"} {
		d, err := sys.FindUSB(where)
		if diff := cmp.Diff(want, d); err != nil || diff != "" {
			t.Error(where, err, diff)
		}
	}
	if _, err := sys.FindUSB("1-3"); err == nil || err.Error() != "usb device '1-3' not found" {
		t.Error(err)
	}
	if all, err := sys.USBDevices(); err != nil || len(all) != 2 || all[1].Class != 9 {
		t.Error(all, err)
	}
}
