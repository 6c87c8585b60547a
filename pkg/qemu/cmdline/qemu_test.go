package cmdline_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline/probe"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// world is a node with a storage "local" in a folder, for the QEMU installed here.
type world struct {
	cmdline.Host
	dir string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	p := &probe.Prober{Runner: run.Host{}, Cache: filepath.Join(conformance.Root(t), "build", "probe"), Look: run.Host{}.Look}
	caps, err := p.QEMU(t.Context(), "x86_64")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	w := &world{dir: dir, Host: cmdline.Host{
		Node: "test", Arch: "x86_64", CPUs: 64, QEMU: caps, IOURing: probe.IOURing(),
		Paths: cmdline.Paths{
			QMP: at("qmp"), VNC: at("vnc"), Agent: at("qga"), TPM: at("tpm"), PID: at("pid"), Spice: at("spice"), EFIVars: at("vars.fd"),
			Serial:   func(n int) string { return at(fmt.Sprintf("serial%d", n)) },
			VirtioFS: func(n int) string { return at(fmt.Sprintf("fs%d", n)) },
			Shared:   func(name string) string { return at("shm-" + name) },
		},
		IsBlock: func(path string) (bool, error) {
			info, err := os.Stat(path)
			return err == nil && info.Mode()&fs.ModeDevice != 0, err
		},
		BridgeMTU: func(string) (int, error) { return 1500, nil },
		Volume: func(volid string) (cmdline.Volume, error) {
			path := at(filepath.Base(volid))
			format := strings.TrimPrefix(filepath.Ext(path), ".")
			v := cmdline.Volume{ID: volid, Type: "dir", Kind: "images", Format: format, Path: path, Node: map[string]any{"driver": "file", "filename": path}}
			if format == "iso" {
				v.Kind, v.Format = "iso", "raw"
			}
			return v, nil
		},
		Firmware: func(kind string) (cmdline.Firmware, error) {
			names := map[string][2]string{
				cmdline.Firmware2M: {"OVMF_CODE.fd", "OVMF_VARS.fd"}, cmdline.Firmware4M: {"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"},
				cmdline.Firmware4MSecureKeys: {"OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"}, cmdline.Firmware4MSecure: {"OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.fd"},
			}[kind]
			f := cmdline.Firmware{Code: "/usr/share/OVMF/" + names[0], Vars: "/usr/share/OVMF/" + names[1]}
			info, err := os.Stat(f.Vars)
			if err == nil {
				f.VarsSize = info.Size()
			}
			return f, err
		},
	}}
	if caps.Spice {
		w.Spice = func() (cmdline.Spice, error) { return cmdline.Spice{}, nil }
	}
	return w
}

// disk makes an image of the world's storage.
func (w *world) disk(t *testing.T, name, size string) {
	t.Helper()
	format := strings.TrimPrefix(filepath.Ext(name), ".")
	if format == "iso" {
		format = "raw"
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", format, filepath.Join(w.dir, name), size).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// compose reads a configuration, one option a word, and composes its line.
func (w *world) compose(t *testing.T, config string) *cmdline.Command {
	t.Helper()
	cmd, err := cmdline.Compose(cmdline.VM{ID: 100, Config: parse(t, config)}, w.Host)
	if err != nil {
		t.Fatal(err)
	}
	if vars := cmd.EFIVars; vars != nil {
		raw, err := os.ReadFile(vars.From)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vars.Path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cmd
}

// start runs QEMU and connects to its monitor. QEMU ends with the test.
func (w *world) start(t *testing.T, argv []string) *qmp.Monitor {
	t.Helper()
	var log bytes.Buffer
	proc := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	proc.Stderr, proc.Stdout = &log, &log
	if err := proc.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- proc.Wait() }()
	t.Cleanup(func() {
		<-ended
		if t.Failed() {
			t.Logf("%s", run.Quote(argv...))
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("QEMU ended: %v: %s", err, log.String())
		default:
		}
		m, err := qmp.Dial(t.Context(), w.Paths.QMP)
		if err == nil {
			t.Cleanup(func() { _ = m.Close() })
			if text := log.String(); strings.TrimSpace(text) != "" && !strings.Contains(text, "TCG doesn't support requested feature") {
				t.Logf("QEMU says: %s", text)
			}
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("no monitor: %v: %s", err, log.String())
		}
	}
}

// TestAccepted lets the installed QEMU check every option of many configurations.
func TestAccepted(t *testing.T) {
	if testing.Short() {
		t.Skip("starts QEMU many times")
	}
	const disks = "scsi0: local:100/a.qcow2,discard=on,iops=100,mbps_rd=10.5,mbps_rd_max=20,bps_rd_max_length=3,ssd=1,serial=x%2Cy,wwn=0x5000c50015ea71aa,vendor=ACME,product=Disk\n"
	for _, c := range []struct{ name, config string }{
		{"nothing", ""},
		{"q35", "machine: q35\nostype: l26"},
		{"windows 11", "machine: q35\nostype: win11\nbios: ovmf\nefidisk0: local:100/e.raw,efitype=4m,pre-enrolled-keys=1\ncpu: host\nagent: 1,type=isa"},
		{"windows 7", "ostype: win7\nvga: qxl2"}, {"windows xp", "ostype: wxp\nnet0: rtl8139=BC:24:11:00:00:01"},
		{"solaris", "ostype: solaris"},
		{"lsi", disks + "scsi8: local:100/b.raw\nscsi13: none,media=cdrom"},
		{"lsi53c810", disks + "scsihw: lsi53c810"}, {"megasas", disks + "scsihw: megasas\nscsi1: local:100/c.iso,media=cdrom"}, {"pvscsi", disks + "scsihw: pvscsi"},
		{"virtio-scsi", disks + "scsihw: virtio-scsi-pci\nscsi30: local:100/b.raw,cache=writeback,aio=threads"},
		{"virtio-scsi-single", disks + "scsihw: virtio-scsi-single\nscsi3: local:100/b.raw,iothread=1,queues=4,cache=directsync\nmachine: q35"},
		{"lsi bridge", "scsi16: local:100/b.raw\nmachine: q35"},
		{"virtio-blk", "virtio0: local:100/a.qcow2,iothread=1,cache=unsafe,rerror=stop,werror=report\nvirtio15: local:100/b.raw,ro=1"},
		{"sata", "sata0: local:100/a.qcow2,ssd=1\nsata5: local:100/c.iso,media=cdrom\nmachine: q35"}, {"sata on pc", "sata0: local:100/b.raw,detect_zeroes=0"},
		{"ide", "ide0: local:100/a.qcow2,model=QM%20X,serial=1\nide1: local:100/b.raw\nide2: local:100/c.iso,media=cdrom\nide3: none,media=cdrom"},
		{"ide on q35", "machine: q35\nide0: local:100/a.qcow2\nide1: local:100/b.raw\nide2: none,media=cdrom\nide3: local:100/c.iso,media=cdrom"},
		{"temporary", "scsi0: local:100/a.qcow2,snapshot=1,discard=on,iops=100,mbps=3,ssd=1\nvirtio0: local:100/b.raw,snapshot=1,iothread=1"},
		{"vmdk", "virtio0: local:100/d.vmdk"},
		{"legacy order", disks + "boot: dcn\nbootdisk: scsi0\nide2: none,media=cdrom\nnet0: e1000=BC:24:11:00:00:01"},
		{"uefi", "bios: ovmf\nefidisk0: local:100/e.raw,efitype=4m"}, {"uefi on the fly", "bios: ovmf\nmachine: q35"},
		{"uefi 2m", "bios: ovmf\nefidisk0: local:100/f.raw\nmachine: q35"}, {"uefi qcow2", "bios: ovmf\nefidisk0: local:100/g.qcow2,efitype=4m"},
		{"nets", "net0: virtio=BC:24:11:00:00:01\nnet1: e1000=BC:24:11:00:00:02\nnet2: e1000e=BC:24:11:00:00:03\nnet3: vmxnet3=BC:24:11:00:00:04\nnet4: rtl8139=BC:24:11:00:00:05\nnet5: ne2k_pci=BC:24:11:00:00:06\nnet6: pcnet=BC:24:11:00:00:07\nnet7: i82551=BC:24:11:00:00:08\nnet8: e1000-82545em=BC:24:11:00:00:09\nnet31: ne2k_isa=BC:24:11:00:00:0A,link_down=1"},
		{"queues", "net0: virtio=BC:24:11:00:00:01,queues=4\nmachine: q35"},
		{"cirrus", "vga: cirrus"}, {"vmware", "vga: vmware,memory=32"}, {"std", "vga: std,memory=64"}, {"none", "vga: none"}, {"serial", "vga: serial0\nserial0: socket"},
		{"virtio display", "vga: virtio,memory=256"}, {"qxl4", "vga: qxl4,memory=32\nostype: l26"}, {"qxl4 windows", "vga: qxl4\nostype: win10\nmachine: q35"},
		{"clipboard", "vga: std,clipboard=vnc"}, {"spice extras", "vga: qxl\nspice_enhancements: foldersharing=1,videostreaming=all\naudio0: device=ich9-intel-hda,driver=spice"},
		{"audio ac97", "audio0: device=AC97,driver=none"}, {"audio hda", "audio0: device=intel-hda,driver=none\nmachine: q35"},
		{"agent", "agent: 1\nrng0: source=/dev/urandom\nwatchdog: i6300esb,action=reset\nballoon: 256"}, {"rng unlimited", "rng0: source=/dev/urandom,max_bytes=0"},
		{"ib700", "watchdog: ib700,action=pause"}, {"no balloon", "balloon: 0\ntablet: 0\nacpi: 0\nkeyboard: de-ch"},
		{"usb spice", "usb0: spice\nusb1: spice,usb3=1\nvga: qxl"}, {"usb spice fast", "usb0: spice\nusb13: spice\nostype: l26\nvga: qxl\nmachine: q35"},
		{"cpu topology", "sockets: 2\ncores: 2\nvcpus: 3\nnuma: 1"}, {"cpu hotplug", "sockets: 2\ncores: 2\nvcpus: 2\nhotplug: cpu,disk\ncpu: x86-64-v2-AES"},
		{"memory hotplug", "numa: 1\nmemory: 2048\nhotplug: memory"}, {"numa", "numa: 1\nmemory: 1024\ncores: 4\nnuma0: cpus=0;2,memory=512\nnuma1: cpus=1;3,memory=512,hostnodes=0,policy=bind"},
		{"odd numa", "numa: 1\nmemory: 1000\nsockets: 3"},
		{"cpu flags", "cpu: kvm64,flags=+aes;-pcid;+spec-ctrl,hidden=1,phys-bits=40"}, {"cpu level", "cpu: EPYC,level=13"}, {"icelake", "cpu: Icelake-Client"}, {"x86-64-v4", "cpu: x86-64-v4"}, {"486", "cpu: 486"},
		{"viommu intel", "machine: q35,viommu=intel"}, {"viommu virtio", "machine: q35,viommu=virtio"},
		{"sleep states", "machine: q35,enable-s3=1,enable-s4=0"},
		{"old pc", "machine: pc-i440fx-5.1\n" + disks}, {"old q35", "machine: pc-q35-3.1\n" + disks + "net0: virtio=BC:24:11:00:00:01"}, {"older q35", "machine: pc-q35-2.10"}, {"old pxe", "machine: pc-i440fx-4.1+pve2.pxe\nnet0: virtio=BC:24:11:00:00:01\nusb0: spice\nvga: qxl"},
		{"smbios", "smbios1: uuid=21111111-2222-4333-8444-555555555555,manufacturer=QUNNRSwgSW5j,base64=1,serial=MQ=="},
		{"clock", "startdate: 2020-01-02T03:04:05\nlocaltime: 1\ntdf: 1"},
		{"serials", "serial0: socket\nserial1: socket\nserial2: socket\nserial3: socket"},
		{"ivshmem", "ivshmem: size=4,name=x"}, {"ivshmem q35", "ivshmem: size=4\nmachine: q35"},
		{"generation", "vmgenid: 21111111-2222-4333-8444-555555555555"},
		{"template", disks + "template: 1\nvirtio1: local:100/b.raw\nsata0: local:100/h.raw\nbios: ovmf\nefidisk0: local:100/e.raw,efitype=4m"},
		{"args", "args: -global isa-debugcon.iobase=0x402 -rtc 'base=utc'"}, {"name", "name: a.b-c"},
		{"cloud-init", "ide2: local:100/vm-100-cloudinit.qcow2,media=cdrom"}, {"cloud-init scsi", "scsi1: local:100/vm-100-cloudinit.qcow2,media=cdrom\nscsihw: virtio-scsi-single"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for name, size := range map[string]string{
				"a.qcow2": "64M", "b.raw": "64M", "c.iso": "1M", "d.vmdk": "64M", "e.raw": "540672", "f.raw": "131072", "g.qcow2": "540672",
				"h.raw": "1M", "vm-100-cloudinit.qcow2": "4M",
			} {
				if strings.Contains(c.config, name) {
					w.disk(t, name, size)
				}
			}
			cmd := w.compose(t, c.config)
			m := w.start(t, append(cmd.Argv, "-S"))
			s, err := m.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.Running {
				t.Errorf("status %+v", s)
			}
			if err := m.Quit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBoots boots a guest with composed lines until it says that it is up.
func TestBoots(t *testing.T) {
	if testing.Short() {
		t.Skip("boots guests")
	}
	for _, c := range []struct{ name, config, devices string }{
		{"i440fx, virtio-scsi", "memory: 512\nscsihw: virtio-scsi-single\nscsi0: local:100/guest.raw,iothread=1,discard=on\nboot: order=scsi0\nnet0: virtio=BC:24:11:00:00:01\nide2: none,media=cdrom\nserial0: socket\nagent: 1\nrng0: source=/dev/urandom\nwatchdog: i6300esb,action=none\nostype: l26\nvga: std",
			"00:00.0 8086:1237 00:01.0 8086:7000 00:01.1 8086:7010 00:01.2 8086:7020 00:01.3 8086:7113 00:02.0 1234:1111 00:03.0 1af4:1002 00:04.0 8086:25ab" +
				" 00:05.0 1b36:0001 00:08.0 1af4:1003 00:12.0 1af4:1000 00:1e.0 1b36:0001 00:1f.0 1b36:0001 01:01.0 1af4:1004 02:1d.0 1af4:1005"},
		{"q35, virtio-blk, UEFI", "memory: 512\nmachine: q35\nbios: ovmf\nefidisk0: local:100/e.raw,efitype=4m\nvirtio0: local:100/guest.raw,iothread=1,cache=writeback,mbps=200\nboot: order=virtio0\nnet0: virtio=BC:24:11:00:00:01\nserial0: socket\nagent: 1\nostype: l26\nballoon: 256",
			"00:00.0 8086:29c0 00:01.0 1234:1111 00:1a.0 8086:2937 00:1a.1 8086:2938 00:1a.2 8086:2939 00:1a.7 8086:293c 00:1b.0 8086:293e" +
				" 00:1c.0 1b36:000c 00:1c.1 1b36:000c 00:1c.2 1b36:000c 00:1c.3 1b36:000c 00:1d.0 8086:2934 00:1d.1 8086:2935 00:1d.2 8086:2936 00:1d.7 8086:293a" +
				" 00:1e.0 8086:244e 00:1f.0 8086:2918 00:1f.2 8086:2922 00:1f.3 8086:2930 05:01.0 1b36:0001 05:02.0 1b36:0001 05:03.0 1b36:0001 05:04.0 1b36:0001" +
				" 06:03.0 1af4:1002 06:08.0 1af4:1003 06:0a.0 1af4:1001 06:12.0 1af4:1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := testguest.Dir(t)
			w := newWorld(t)
			if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", filepath.Join(dir, "guest.raw"), filepath.Join(w.dir, "guest.raw")).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if strings.Contains(c.config, "efidisk0") {
				raw, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
				if err != nil {
					t.Skip(err)
				}
				if err := os.WriteFile(filepath.Join(w.dir, "e.raw"), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := w.compose(t, c.config)
			if cmd.KVM {
				t.Error("KVM was not told to be usable")
			}
			m := w.start(t, cmd.Argv)
			began := time.Now()
			agent, err := qmp.DialAgent(t.Context(), w.Paths.Agent)
			for ; err != nil; agent, err = qmp.DialAgent(t.Context(), w.Paths.Agent) {
				if time.Since(began) > 4*time.Minute {
					t.Fatalf("the guest's agent did not answer in 4 minutes: %v", err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			defer agent.Close()
			t.Logf("the agent answered after %v", time.Since(began).Round(time.Second))
			devices, err := agent.Exec(t.Context(), []string{"/bin/sh", "-c", "cd /sys/bus/pci/devices; for d in *; do echo $d $(cat $d/vendor):$(cat $d/device); done"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			seen := strings.NewReplacer("0x", "", "0000:", "").Replace(strings.Join(strings.Fields(string(devices.Out)), " "))
			if seen != c.devices {
				t.Errorf("the guest sees %s, want %s", seen, c.devices)
			}
			if err := m.Call(t.Context(), "system_powerdown", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
