// Package cmdline composes the command line of QEMU for a VM, from its
// configuration and what is known of its node.
//
// It is pure: it looks at nothing and changes nothing itself. What has to be done
// before QEMU can start with the line (volumes to activate, helpers to run, tap
// devices to make) is told beside it, in [Command].
//
// The guest sees the hardware that Proxmox VE shows it: the same devices at the
// same addresses with the same properties, by the version of its machine type. On
// the host's side the line is for stock QEMU from 7.2 on: drives are always
// -blockdev trees, there is no +pveN in the machine type, what the installed QEMU
// does not know is left out where no guest can tell, and refused where one could.
//
// Each class of devices has a file.
package cmdline

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// VM is what to compose a command line for.
type VM struct {
	ID     id.VM
	Config qemu.Config

	Machine  string         // overrides the machine type: that of a state to load
	CPU      string         // overrides all of -cpu
	HostMTU  map[string]int // overrides the MTU told to network cards, by option; 0 tells none
	Incoming string         // of -incoming: where a state to load comes from
	Paused   bool           // do not let the guest run yet
}

// Command is a command line and what it needs.
type Command struct {
	Argv     []string
	Notes    []string // for the log of a start
	Warnings []string // of a configuration that is not all it seems

	Machine string // the machine type with its +pveN, as a snapshot stores it
	CPU     string // of -cpu
	KVM     bool

	Volumes   []string    // to activate first
	CloudInit string      // the drive to write cloud-init's files to, by option
	EFIVars   *EFIVars    // to make first
	TPM       *TPM        // to run beside
	VirtioFS  []VirtioFS  // to run beside
	Taps      []Tap       // to make first and join to their bridges
	PCI       []PCIDevice // to take from the host first
	Shared    *SharedMemory
	HugePages []HugePages // to reserve first
	LinkDown  []string    // network cards to unplug once QEMU runs, by option
	SpicePort int
	VNC       bool // there is a display to look at
}

// composer is a command line in the making. What QEMU reads first and last is
// in args, devices come between in the order that makes addresses stable.
type composer struct {
	vm      *VM
	conf    *qemu.Config
	host    *Host
	out     *Command
	arch    string
	machine machine
	kvm     bool
	windows int // version of Windows, 0 for none
	order   map[string]int

	args     []string
	devices  []string
	flags    []string // of -machine
	rtc      []string
	bridges  map[int]bool
	hotplug  map[string]bool
	vga      display
	legacyGD bool // a passed-through Intel GPU takes the place of a bridge
	iscsi    bool // a drive is reached by iSCSI
}

// Compose returns the command line of a VM. Its errors are for users.
func Compose(vm VM, host Host) (*Command, error) {
	c, err := newComposer(&vm, &host)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		c.base, c.smbios, c.firmware, c.chipset, c.fixups, c.generation, c.usbControllers, c.chooseDisplay, c.tablet,
		c.hostPCI, c.usbDevices, c.ports, c.audio, c.tpm, c.processors, c.start, c.display, c.timers, c.cpu, c.memory,
		c.agent, c.rng, c.spice, c.balloon, c.watchdog, c.drives, c.networks, c.sharedMemory, c.pciBridges, c.power,
		c.viommu, c.confidential, c.virtiofs, c.finish,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c.out, nil
}

func newComposer(vm *VM, host *Host) (*composer, error) {
	if host.QEMU == nil {
		return nil, fmt.Errorf("QEMU is not installed on node '%s'", host.Node)
	}
	vm.Config.MergeCDROM()
	c := &composer{vm: vm, conf: &vm.Config, host: host, out: &Command{}, bridges: map[int]bool{}}
	if flag(vm.Config.Template, false) {
		c.conf = forBackup(&vm.Config)
	}
	c.arch = str(c.conf.Arch, host.Arch)
	c.windows = windowsVersion(str(c.conf.OSType, ""))
	c.order = c.conf.BootOrder()
	c.hotplug = hotplugFeatures(c.conf.Hotplug)
	if err := c.chooseAccel(); err != nil {
		return nil, err
	}
	return c, c.chooseMachine()
}

// forBackup returns what is left of a template that is started to be backed up:
// its disks.
func forBackup(conf *qemu.Config) *qemu.Config {
	off, none := false, "none"
	return &qemu.Config{
		Template: conf.Template, KVM: &off, VGA: &qemu.VGA{Type: &none}, SCSIHW: conf.SCSIHW, BIOS: conf.BIOS, Name: conf.Name,
		IDE: conf.IDE, SATA: conf.SATA, SCSI: conf.SCSI, VirtIO: conf.VirtIO, EFIDisk: conf.EFIDisk, TPMState: conf.TPMState,
	}
}

// arg adds to the options of QEMU itself.
func (c *composer) arg(words ...string) { c.args = append(c.args, words...) }

// add adds to the devices: an option and its value.
func (c *composer) add(words ...string) { c.devices = append(c.devices, words...) }

// device adds a device.
func (c *composer) device(driver string, pairs ...string) {
	c.add("-device", option(driver, pairs...))
}

func (c *composer) note(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

func (c *composer) warn(format string, args ...any) {
	c.out.Warnings = append(c.out.Warnings, fmt.Sprintf(format, args...))
}

func (c *composer) isTemplate() bool { return flag(c.conf.Template, false) }

// name is what the VM is called.
func (c *composer) name() string { return str(c.conf.Name, "vm"+c.vm.ID.String()) }

// base starts the line: the program, its name and its monitors.
func (c *composer) base() error {
	if cpus := str(c.conf.Affinity, ""); cpus != "" {
		c.arg("/usr/bin/taskset", "--cpu-list", "--all-tasks", cpus)
	}
	c.arg(c.host.QEMU.Binary, "-name", escape(c.name()), "-no-shutdown")
	c.arg("-chardev", option("socket", "id", "qmp", "path", c.host.Paths.QMP, "server", "on", "wait", "off"))
	c.arg("-mon", "chardev=qmp,mode=control")
	if events := c.host.Paths.Events; events != "" {
		again := []string{"reconnect", "5"}
		if qemu, _, _ := versionOfBinary(c.host.QEMU.Version); qemu.atLeast(9, 2) {
			again = []string{"reconnect-ms", "5000"}
		}
		c.arg("-chardev", option("socket", append([]string{"id", "qmp-event", "path", events}, again...)...))
		c.arg("-mon", "chardev=qmp-event,mode=control")
	}
	if pid := c.host.Paths.PID; pid != "" {
		c.arg("-pidfile", pid)
	}
	return nil
}

// start says how the guest starts.
func (c *composer) start() error {
	c.arg("-nodefaults", "-boot", option("", "menu", "on", "strict", "on", "reboot-timeout", "1000", "splash", c.host.BootSplash))
	if !flag(c.conf.ACPI, true) {
		c.flags = append(c.flags, "acpi=off")
	}
	if !flag(c.conf.Reboot, true) {
		c.arg("-no-reboot")
	}
	return nil
}

// finish puts the parts together.
func (c *composer) finish() error {
	if c.iscsi && c.host.ISCSIName != "" {
		c.arg("-iscsi", option("", "initiator-name", c.host.ISCSIName))
	}
	c.arg(c.devices...)
	if len(c.rtc) > 0 {
		c.arg("-rtc", join(c.rtc))
	}
	c.arg("-machine", join(c.flags))
	if c.vm.Incoming != "" {
		c.arg("-incoming", c.vm.Incoming)
	}
	if line := str(c.conf.Args, ""); line != "" {
		words, err := run.Split(line)
		if err != nil {
			return fmt.Errorf("args: %w", err)
		}
		c.arg(words...)
	}
	c.out.Argv = c.args
	return nil
}

// String writes the command line as one would type it in a shell.
func (c *Command) String() string { return run.Quote(c.Argv...) }

// Pretty is String with an option a line.
func (c *Command) Pretty() string {
	var b strings.Builder
	for i, word := range c.Argv {
		switch {
		case i == 0:
		case strings.HasPrefix(word, "-"):
			b.WriteString(" \\\n  ")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(run.Quote(word))
	}
	return b.String()
}
