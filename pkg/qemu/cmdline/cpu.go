package cmdline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// cpuFlag is one word of -cpu: +aes, kvm=off, enforce.
type cpuFlag struct {
	op, value, reason string
}

func (f cpuFlag) word(name string) string {
	return f.op + name + ifSet(f.value != "", "="+f.value)
}

// told is a flag as warnings name it.
func (f cpuFlag) told(name string) string {
	return fmt.Sprintf("'%s'%s", f.word(name), ifSet(f.reason != "", " ("+f.reason+")"))
}

// model is the CPU of the guest, as resolved from the configuration.
type model struct {
	name   string // that QEMU knows
	vendor string
	bits   int
	custom qemu.CPU // settings of a custom model
	flags  string   // of a model of ours
	own    qemu.CPU // settings of the VM
}

// resolveModel finds the CPU model that the configuration means.
func (c *composer) resolveModel() (model, error) {
	m := model{}
	if c.conf.CPU != nil {
		m.own = *c.conf.CPU
	}
	name := str(m.own.Type, c.defaultModel())
	if custom, ok := qemu.CustomCPU(name); ok {
		found := false
		if c.host.CPUModel != nil {
			m.custom, found = c.host.CPUModel(custom)
		}
		if !found {
			return m, fmt.Errorf("Custom cputype '%s' not found", custom)
		}
		name = str(m.custom.ReportedModel, "kvm64")
	}
	known, ok := qemu.FindCPUModel(c.arch, name)
	if !ok {
		return m, fmt.Errorf("cpu: model '%s' is not known for architecture '%s'", name, c.arch)
	}
	m.name, m.vendor, m.flags, m.bits = known.Base, known.Vendor, known.Flags, known.Bits
	if m.name == "host" && !c.kvm {
		m.name = "max" // what an emulated CPU has at most; there is no host to show
		c.note("cpu: model 'host' needs KVM, using 'max'")
	}
	if !c.host.QEMU.hasCPU(m.name) && !c.kvmOnly(m.name) {
		return m, fmt.Errorf("cpu: model '%s' is not known to QEMU '%s' on node '%s'", m.name, c.host.QEMU.Version, c.host.Node)
	}
	return m, nil
}

// kvmOnly tells whether QEMU lists a model only where KVM runs.
func (c *composer) kvmOnly(name string) bool { return c.kvm && name == "host" }

// defaultModel is the CPU of a VM that says nothing of it.
func (c *composer) defaultModel() string {
	switch {
	case c.arch == "aarch64" && c.kvm:
		return "host"
	case c.arch == "aarch64":
		return "cortex-a57"
	case c.kvm:
		return "kvm64"
	}
	return "qemu64"
}

// cpu sets the model and its flags.
func (c *composer) cpu() error {
	if c.vm.CPU != "" {
		c.arg("-cpu", c.vm.CPU)
		c.out.CPU = c.vm.CPU
		return nil
	}
	m, err := c.resolveModel()
	if err != nil {
		return err
	}
	flags, err := c.cpuFlags(m)
	if err != nil {
		return err
	}
	words := append([]string{m.name}, flags...)
	for _, width := range []struct{ name, value string }{
		{"guest-phys-bits", either(m.own.GuestPhysBits, m.custom.GuestPhysBits)},
		{"phys-bits", str(m.own.PhysBits, str(m.custom.PhysBits, ""))},
		{"level", either(m.own.Level, m.custom.Level)},
	} {
		switch {
		case width.value == "":
		case width.value == "host":
			words = append(words, "host-"+width.name+"=true")
		case !c.host.QEMU.hasFlag(width.name):
			return fmt.Errorf("cpu: '%s' is not known to QEMU '%s' on node '%s'", width.name, c.host.QEMU.Version, c.host.Node)
		default:
			words = append(words, width.name+"="+width.value)
		}
	}
	c.out.CPU = join(words)
	c.arg("-cpu", c.out.CPU)
	return nil
}

func either(first, second *int) string {
	if first == nil {
		first = second
	}
	if first == nil {
		return ""
	}
	return itoa(*first)
}

// cpuFlags resolves the flags of all origins, later ones over earlier ones.
func (c *composer) cpuFlags(m model) ([]string, error) {
	resolved := map[string]cpuFlag{}
	for _, origin := range []map[string]cpuFlag{
		c.hardFlags(m), c.hyperV(m),
		flagList(m.flags, "set by builtin CPU model", nil),
		flagList(str(m.custom.Flags, ""), "set by custom CPU model", nil),
		flagList(str(m.own.Flags, ""), "manually set for VM", qemu.CPUFlags()),
		c.forcedFlags(m),
	} {
		c.resolveNested(origin)
		for _, name := range slices.Sorted(maps.Keys(origin)) {
			flag := origin[name]
			if old, twice := resolved[name]; twice {
				if old.op == flag.op && old.value == flag.value {
					old.reason += " & " + flag.reason
					resolved[name] = old
					continue
				}
				c.warn("warning: CPU flag/setting %s overwrites %s", flag.told(name), old.told(name))
			}
			resolved[name] = flag
		}
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(resolved)) {
		flag := resolved[name]
		if !c.host.QEMU.hasFlag(name) {
			if flag.op == "+" {
				return nil, fmt.Errorf("cpu: flag '%s' is not known to QEMU '%s' on node '%s'", name, c.host.QEMU.Version, c.host.Node)
			}
			continue // a flag that QEMU has not is off already
		}
		words = append(words, flag.word(name))
	}
	return words, nil
}

// flagList reads +aes;-pcid. Names not among those allowed are skipped; nil
// allows all.
func flagList(text, reason string, allowed []string) map[string]cpuFlag {
	flags := map[string]cpuFlag{}
	for word := range strings.SplitSeq(text, ";") {
		if len(word) < 2 || allowed != nil && !slices.Contains(allowed, word[1:]) {
			continue
		}
		flags[word[1:]] = cpuFlag{op: word[:1], reason: reason}
	}
	return flags
}

// resolveNested replaces the flag for nested virtualization by what it is called
// on the CPU of the node.
func (c *composer) resolveNested(flags map[string]cpuFlag) {
	const nested = "nested-virt"
	flag, ok := flags[nested]
	if !ok {
		return
	}
	delete(flags, nested)
	for _, name := range []string{"svm", "vmx"} {
		if !slices.Contains(c.host.CPUFlags, name) {
			continue
		}
		if _, twice := flags[name]; twice {
			c.warn("warning: CPU flag '%s' overrides '%s'", nested, name)
		} else {
			c.note("CPU flag '%s' resolved to '%s'", nested, name)
		}
		flags[name] = flag
		return
	}
	c.warn("ignoring '%s' CPU flag - unable to resolve from host CPU flags", nested)
}

// hardFlags are those that guests have always been given.
func (c *composer) hardFlags(m model) map[string]cpuFlag {
	flags := map[string]cpuFlag{}
	set := func(name, op, reason string) { flags[name] = cpuFlag{op: op, reason: "set by PVE; " + reason} }
	if m.name == "kvm64" {
		set("lahf_lm", "+", "to support Windows 8.1+")
	}
	if m.name == "kvm64" || m.name == "kvm32" {
		set("sep", "+", "to support Windows 8+ and improve Windows XP+")
	}
	if str(c.conf.OSType, "") == "solaris" {
		set("x2apic", "-", "incompatible with Solaris")
	}
	if strings.HasPrefix(m.name, "Opteron") {
		set("rdtscp", "-", "broken on AMD Opteron")
	}
	if c.windows >= 11 && c.arch == "x86_64" {
		set("cet-ibt", "-", "not migratable for Windows 11")
		set("cet-ss", "-", "not migratable for Windows 11")
	}
	if c.machine.version.atLeast(2, 3) && c.kvm && c.arch == "x86_64" {
		set("kvm_pv_unhalt", "+", "to improve Linux guest spinlock performance")
		set("kvm_pv_eoi", "+", "to improve Linux guest interrupt performance")
	}
	return flags
}

// hyperV are the parts of Hyper-V that Windows is shown, under KVM.
func (c *composer) hyperV(m model) map[string]cpuFlag {
	if !c.kvm || c.windows < 6 || c.windows < 8 && str(c.conf.BIOS, "") == "ovmf" {
		return nil
	}
	const reason = "automatic Hyper-V enlightenment for Windows"
	flags := map[string]cpuFlag{}
	on := func(names ...string) {
		for _, name := range names {
			flags[name] = cpuFlag{reason: reason}
		}
	}
	vendor, why := m.own.HVVendorID, "custom hv_vendor_id set"
	if vendor == nil {
		vendor = m.custom.HVVendorID
	}
	if vendor == nil && c.vga.passedThrough {
		vendor, why = new("proxmox"), "NVIDIA workaround for GPU passthrough"
	}
	if vendor != nil {
		flags["hv_vendor_id"] = cpuFlag{value: *vendor, reason: why}
	}
	v := c.machine.version
	if v.atLeast(2, 3) {
		flags["hv_spinlocks"] = cpuFlag{value: "0x1fff", reason: reason}
		on("hv_vapic", "hv_time")
	} else {
		flags["hv_spinlocks"] = cpuFlag{value: "0xffff", reason: reason}
	}
	if v.atLeast(2, 6) {
		on("hv_reset", "hv_vpindex", "hv_runtime")
	}
	if c.windows >= 7 {
		on("hv_relaxed")
		if v.atLeast(2, 12) {
			on("hv_synic", "hv_stimer")
		}
		if v.atLeast(3, 1) {
			on("hv_ipi")
		}
	}
	if c.windows >= 11 && v.atLeast(11, 0, 2) && c.host.CPUVendor == "GenuineIntel" {
		on("hv_evmcs")
	}
	return flags
}

// forcedFlags are those that nothing overrides.
func (c *composer) forcedFlags(m model) map[string]cpuFlag {
	flags := map[string]cpuFlag{}
	if m.name != "host" && c.kvm && c.arch == "x86_64" {
		flags["enforce"] = cpuFlag{reason: "error if requested CPU settings not available"}
	}
	hidden := c.vga.hideKVM
	if m.custom.Hidden != nil {
		hidden = *m.custom.Hidden
	}
	if m.own.Hidden != nil {
		hidden = *m.own.Hidden
	}
	if hidden {
		flags["kvm"] = cpuFlag{value: "off", reason: "hide KVM virtualization from guest"}
	}
	if m.vendor != "default" && c.arch == "x86_64" {
		flags["vendor"] = cpuFlag{value: m.vendor}
	}
	return flags
}

// maxCPUs is the most that any QEMU gives a guest.
const maxCPUs = 4096

// processors sets their number. With CPU hotplug only the first is there when
// QEMU starts, the others are devices.
func (c *composer) processors() error {
	sockets := max(1, num(c.conf.Sockets, num(c.conf.SMP, 1)))
	cores := max(1, num(c.conf.Cores, 1))
	limit := c.host.CPUs
	if limit == 0 {
		limit = maxCPUs
	}
	if sockets > limit || cores > limit || sockets*cores > limit {
		return fmt.Errorf("MAX %d vcpus allowed per VM on this node", limit)
	}
	most := sockets * cores
	now := num(c.conf.VCPUs, 0)
	if now == 0 {
		now = most
	}
	if now > most {
		return fmt.Errorf("vcpus: %d is more than the %d that sockets and cores make", now, most)
	}
	topology := fmt.Sprintf("sockets=%d,cores=%d,maxcpus=%d", sockets, cores, most)
	if !c.hotplug["cpu"] || !c.machine.version.atLeast(2, 7) {
		c.arg("-smp", fmt.Sprintf("%d,%s", now, topology))
		return nil
	}
	c.arg("-smp", "1,"+topology)
	for n := 2; n <= now; n++ {
		device, err := c.processor(n, cores)
		if err != nil {
			return err
		}
		c.arg("-device", device)
	}
	return nil
}

// processor is the n-th CPU as a device, from 2 on.
func (c *composer) processor(n, cores int) (string, error) {
	if c.arch != "x86_64" {
		return "", errors.New("Hotplug of non x86_64 CPU not yet supported")
	}
	m, err := c.resolveModel()
	if err != nil {
		return "", err
	}
	return option(m.name+"-x86_64-cpu", "id", fmt.Sprintf("cpu%d", n), "socket-id", itoa((n-1)/cores), "core-id", itoa((n-1)%cores), "thread-id", "0"), nil
}
