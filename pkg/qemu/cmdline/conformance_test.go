package cmdline

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// suite is conformance/guest/qemu-cfg2cmd.
type suite struct {
	Cases []struct {
		Name         string
		Config       string
		Argv         []string
		Error        string         `json:"expect_error"`
		Warning      string         `json:"expect_warning"`
		QEMU         string         `json:"qemu_version"`
		Arch         string         `json:"host_arch"`
		Vendor       string         `json:"host_cpu_vendor"`
		Capabilities map[string]SEV `json:"hw_capabilities"`
	}
	Environment environment
}

type environment struct {
	BlockDevices string         `json:"block_device_path_regex"`
	BridgeMTU    map[string]int `json:"bridge_mtu"`
	CPUModels    string         `json:"cpu_models_conf"`
	Arch         string         `json:"default_host_arch"`
	Vendor       string         `json:"default_host_cpu_vendor"`
	Capabilities map[string]SEV `json:"default_hw_capabilities"`
	QEMU         string         `json:"default_qemu_version"`
	VarsSize     map[string]int `json:"firmware_vars_size"`
	CPUs         int            `json:"host_cpus_at_least"`
	PCIDevices   []string       `json:"host_pci_devices"`
	PhysBits     int            `json:"host_phys_address_bits"`
	Initiator    string         `json:"iscsi_initiator_name"`
	VhostNet     bool           `json:"kernel_has_vhost_net"`
	Localhost    string         `json:"localhost_address"`
	PCIMapping   struct {
		IDs map[string]struct {
			Map []string
		}
	} `json:"mapping_pci"`
	Node      string `json:"nodename"`
	SpicePort string `json:"next_spice_port"`
	Storage   struct {
		IDs map[string]store
	} `json:"storage_config"`
	VM       int      `json:"vmid"`
	Reserved []string `json:"reserved_devices"`
}

// store is a storage as upstream has it after reading storage.cfg.
type store struct {
	Type, Path, Vgname, Pool, Monhost, Fsid, Portal, Target string
	KRBD                                                    json.Number
	Content                                                 map[string]int
}

func TestConformanceConfigToCommand(t *testing.T) {
	var s suite
	conformance.Load(t, "guest/qemu-cfg2cmd", &s)
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			host := s.Environment.host(t)
			host.QEMU = &Capabilities{Binary: "qemu", Version: or(c.QEMU, s.Environment.QEMU)}
			host.Arch, host.CPUVendor = or(c.Arch, host.Arch), or(c.Vendor, host.CPUVendor)
			if sev, ok := c.Capabilities["amd-sev"]; ok {
				host.SEV = func() (SEV, error) { return sev, nil }
			}
			got, err := Compose(VM{ID: id.VM(s.Environment.VM), Config: readConfig(t, c.Config)}, host)
			if c.Error != "" {
				if err == nil || err.Error() != c.Error {
					t.Fatalf("got error %v, want %s", err, c.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Join(got.Warnings, "\n"); warned != c.Warning {
				t.Errorf("got warning %q, want %q", warned, c.Warning)
			}
			want, have := bothNormal(c.Argv, got.Argv)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// readConfig reads what holds now in the text of a configuration file.
func readConfig(t testing.TB, text string) qemu.Config {
	t.Helper()
	p := schema.Params{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			break
		}
		if key, value, ok := strings.Cut(line, ":"); ok {
			p[key] = strings.TrimSpace(value)
		}
	}
	var c qemu.Config
	if err := schema.Decode(p, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// host is the world that the suite describes.
func (e environment) host(t testing.TB) Host {
	paths := Paths{
		QMP: "/var/run/qemu-server/8006.qmp", Events: "/var/run/qmeventd.sock", VNC: "/var/run/qemu-server/8006.vnc",
		Agent: "/var/run/qemu-server/8006.qga", TPM: "/var/run/qemu-server/8006.swtpm", PID: "/var/run/qemu-server/8006.pid",
		EFIVars: "/run/qemu-server/efidisk/8006-ovmf.fd",
		Serial:  func(n int) string { return fmt.Sprintf("/var/run/qemu-server/8006.serial%d", n) },
	}
	block := regexp.MustCompile(e.BlockDevices)
	return Host{
		Node: e.Node, Arch: e.Arch, CPUs: e.CPUs, CPUVendor: e.Vendor, PhysBits: e.PhysBits, KVM: KVM{Opens: true, Trusted: true},
		Paths: paths, VhostNet: e.VhostNet, IOURing: true, ISCSIName: e.Initiator,
		Volume:    e.volume,
		IsBlock:   func(path string) (bool, error) { return block.MatchString(path), nil },
		Firmware:  e.firmware,
		BridgeMTU: func(bridge string) (int, error) { return either2(e.BridgeMTU, bridge), nil },
		CPUModel:  func(name string) (qemu.CPU, bool) { return cpuModel(t, e.CPUModels, name) },
		HugePages: func(int) bool { return true },
		NUMANode:  func(int) bool { return true },
		PCI:       fakePCI{e},
		SEV:       func() (SEV, error) { return e.Capabilities["amd-sev"], nil },
		Spice: func() (Spice, error) {
			addr, err := netip.ParseAddr(e.Localhost)
			return Spice{Port: number(e.SpicePort), Address: addr.String()}, err
		},
	}
}

func either2(m map[string]int, key string) int {
	if n, ok := m[key]; ok {
		return n
	}
	return m["*"]
}

// volume is what the storages of the suite say of a volume.
func (e environment) volume(volid string) (Volume, error) {
	storeid, name, _ := strings.Cut(volid, ":")
	s, ok := e.Storage.IDs[storeid]
	if !ok {
		return Volume{}, fmt.Errorf("storage '%s' does not exist", storeid)
	}
	v := Volume{ID: volid, Type: s.Type, Kind: "images", Format: strings.TrimPrefix(path.Ext(name), "."), KRBD: s.KRBD == "1"}
	for kind := range s.Content {
		v.Contents = append(v.Contents, kind)
	}
	if v.Format == "" {
		v.Format = "raw"
	}
	switch s.Type {
	case "dir", "cifs":
		v.Path = s.Path + "/images/" + name
		v.Node = map[string]any{"driver": "file", "filename": v.Path}
	case "btrfs":
		v.Node = map[string]any{"driver": "file", "filename": s.Path + "/images/" + strings.TrimSuffix(name, ".raw") + "/disk.raw"}
	case "lvm", "lvmthin":
		v.Node = map[string]any{"driver": "host_device", "filename": "/dev/" + s.Vgname + "/" + name}
	case "rbd":
		if v.KRBD {
			v.Node = map[string]any{"driver": "host_device", "filename": "/dev/rbd-pve/" + s.Fsid + "/" + s.Pool + "/" + name}
			break
		}
		var servers []any
		for host := range strings.SplitSeq(s.Monhost, ",") {
			servers = append(servers, map[string]any{"host": host, "port": "3300"})
		}
		v.Node = map[string]any{"driver": "rbd", "pool": s.Pool, "image": name, "server": servers, "auth-client-required": []any{"none"}}
	case "zfs":
		v.Node = map[string]any{"driver": "iscsi", "portal": s.Portal, "target": "iqn.2019-10.org.test:foobar", "lun": 0, "transport": "tcp"}
	default:
		return v, fmt.Errorf("storage type '%s' is not in the suite", s.Type)
	}
	return v, nil
}

// firmware is where upstream keeps its own builds.
func (e environment) firmware(kind string) (Firmware, error) {
	const dir = "/usr/share/pve-edk2-firmware//"
	f := map[string][2]string{
		Firmware2M: {"OVMF_CODE", "OVMF_VARS"}, Firmware4M: {"OVMF_CODE_4M", "OVMF_VARS_4M"}, Firmware4MKeys: {"OVMF_CODE_4M", "OVMF_VARS_4M"},
		Firmware4MSecure: {"OVMF_CODE_4M.secboot", "OVMF_VARS_4M"}, Firmware4MSecureKeys: {"OVMF_CODE_4M.secboot", "OVMF_VARS_4M"},
		FirmwareSEV: {"OVMF_SEV_CODE_4M", "OVMF_VARS_4M"}, FirmwareARM: {"AAVMF_CODE", "AAVMF_VARS"},
	}[kind]
	if f[0] == "" {
		return Firmware{}, fmt.Errorf("no firmware '%s'", kind)
	}
	return Firmware{Code: dir + f[0] + ".fd", Vars: dir + f[1] + ".fd", VarsSize: int64(e.VarsSize[f[1]])}, nil
}

// cpuModel reads a model out of the text of cpu-models.conf.
func cpuModel(t testing.TB, text, name string) (model qemu.CPU, ok bool) {
	p := schema.Params{}
	for line := range strings.Lines(text) {
		if head, section, is := strings.Cut(line, ": "); is && head == "cpu-model" {
			if ok {
				break
			}
			ok = strings.TrimSpace(section) == name
		} else if key, value, is := strings.Cut(strings.TrimSpace(line), " "); is && ok {
			p[key] = value
		}
	}
	if err := schema.Decode(p, &model); err != nil {
		t.Fatal(err)
	}
	return model, ok
}

// fakePCI is the PCI bus of the suite.
type fakePCI struct{ environment }

func (f fakePCI) Functions(id string) ([]string, error) {
	if strings.Count(id, ":") == 1 {
		id = "0000:" + id
	}
	var ids []string
	for _, known := range f.PCIDevices {
		if known == id || strings.HasPrefix(known, id+".") {
			ids = append(ids, known)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("no PCI device found for '%s'", id)
	}
	return ids, nil
}

func (f fakePCI) Mapping(name string) (PCIMapping, error) {
	var m PCIMapping
	for _, entry := range f.PCIMapping.IDs[name].Map {
		for part := range strings.SplitSeq(entry, ",") {
			if path, ok := strings.CutPrefix(part, "path="); ok {
				m.Devices = append(m.Devices, path)
			}
		}
	}
	return m, nil
}

func (f fakePCI) Reserve(ids []string) error {
	if slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(f.Reserved, id) }) {
		return errors.New("in use")
	}
	return nil
}

func (f fakePCI) IsNVIDIA(string) bool { return false }

func TestConformancePCIReservation(t *testing.T) {
	var s struct {
		Cases []struct {
			Name     string
			Config   schema.Params
			Expected map[string]struct {
				IDs  []struct{ ID string }
				MDev string
			}
		}
		Environment environment
	}
	conformance.Load(t, "guest/qemu-pci-reservation", &s)
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var conf qemu.Config
			if err := schema.Decode(c.Config, &conf); err != nil {
				t.Fatal(err)
			}
			got, err := ChoosePCI(&conf, id.VM(s.Environment.VM), fakePCI{s.Environment})
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range c.Expected {
				var ids []string
				for _, id := range want.IDs {
					ids = append(ids, id.ID)
				}
				if diff := cmp.Diff(ids, got[key].IDs); diff != "" || got[key].MDev != want.MDev {
					t.Errorf("%s: mdev %q: %s", key, got[key].MDev, diff)
				}
			}
			if len(got) != len(c.Expected) {
				t.Errorf("got %v", got)
			}
		})
	}
}
