package cmdline

import "fmt"

// rng adds a source of random numbers.
func (c *composer) rng() error {
	r := c.conf.RNG
	if r == nil || !c.machine.version.atLeast(4, 1, 2) {
		return nil
	}
	limit, period := "", ""
	if most := num(r.MaxBytes, 1024); most > 0 {
		limit, period = itoa(most), itoa(num(r.Period, 1000))
	}
	c.add("-object", option("rng-random", "filename", r.Source, "id", "rng0"))
	c.device("virtio-rng-pci", append([]string{"rng", "rng0", "max-bytes", limit, "period", period}, c.at("rng0")...)...)
	return nil
}

// balloon adds the device that takes memory from the guest and gives it back.
func (c *composer) balloon() error {
	if num(c.conf.Balloon, 1) == 0 {
		return nil
	}
	c.device("virtio-balloon-pci", append(append([]string{"id", "balloon0"}, c.at("balloon0")...),
		"free-page-reporting", ifSet(c.machine.version.atLeast(6, 2), "on"))...)
	return nil
}

// watchdog adds a timer that the guest must feed.
func (c *composer) watchdog() error {
	w := c.conf.Watchdog
	if w == nil {
		return nil
	}
	model := str(w.Model, "i6300esb")
	if model == "ib700" { // on the ISA bus
		c.device(model)
	} else {
		c.device(model, c.at("watchdog")...)
	}
	if action := str(w.Action, ""); action != "" {
		c.add("-watchdog-action", action)
	}
	return nil
}

// SharedMemory is a file of memory that several guests see.
type SharedMemory struct {
	Path string
	Size int // MiB
}

// sharedMemory adds memory that other guests see too.
func (c *composer) sharedMemory() error {
	m := c.conf.IVSHMem
	if m == nil {
		return nil
	}
	name := str(m.Name, c.vm.ID.String())
	path := "/dev/shm/pve-shm-" + name
	if c.host.Paths.Shared != nil {
		path = c.host.Paths.Shared(name)
	}
	where := c.at("ivshmem")
	if bus, addr, ok := expressPlace("ivshmem"); ok && c.machine.q35 {
		where = []string{"bus", bus, "addr", addr}
		delete(c.bridges, 2)
	}
	c.device("ivshmem-plain", append([]string{"memdev", "ivshmem"}, where...)...)
	c.add("-object", option("memory-backend-file", "id", "ivshmem", "share", "on", "mem-path", path, "size", fmt.Sprintf("%dM", m.Size)))
	c.out.Shared = &SharedMemory{Path: path, Size: m.Size}
	return nil
}

// TPM is a software TPM that QEMU talks to.
type TPM struct {
	Socket  string
	State   string // volume or path
	Volume  Volume // of the state; empty for a path
	Version string // v1.2 or v2.0
}

// tpm adds the TPM. A template has none: its state may be read-only.
func (c *composer) tpm() error {
	t := c.conf.TPMState
	if t == nil || c.isTemplate() {
		return nil
	}
	c.out.TPM = &TPM{Socket: c.host.Paths.TPM, State: t.File, Version: str(t.Version, "v1.2")}
	d, _ := c.conf.Drive("tpmstate0")
	if volid := d.Volume(); volid != "" {
		v, err := c.host.volume(volid)
		if err != nil {
			return fmt.Errorf("tpmstate0: %w", err)
		}
		c.out.TPM.Volume = v
		c.out.Volumes = append(c.out.Volumes, volid)
	}
	driver := "tpm-tis"
	if c.arch == "aarch64" {
		driver = "tpm-tis-device"
	}
	c.add("-chardev", option("socket", "id", "tpmchar", "path", c.host.Paths.TPM))
	c.add("-tpmdev", "emulator,id=tpmdev,chardev=tpmchar")
	c.device(driver, "tpmdev", "tpmdev")
	return nil
}
