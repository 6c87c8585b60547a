package cmdline

import (
	"errors"
	"fmt"
)

// cvmType is the kind of encrypted guest, or the empty string: std, es, snp, tdx.
func (c *composer) cvmType() string {
	switch {
	case c.conf.AMDSEV != nil:
		return c.conf.AMDSEV.Type
	case c.conf.IntelTDX != nil:
		return c.conf.IntelTDX.Type
	}
	return ""
}

// confidential encrypts the memory of the guest.
func (c *composer) confidential() error {
	switch {
	case c.conf.AMDSEV != nil:
		return c.sev()
	case c.conf.IntelTDX != nil:
		return c.tdx()
	}
	return nil
}

func (c *composer) sev() error {
	conf, has := c.conf.AMDSEV, SEV{}
	if c.host.SEV != nil {
		var err error
		if has, err = c.host.SEV(); err != nil {
			return err
		}
	}
	switch {
	case !has.Support:
		return errors.New("Your CPU does not support AMD SEV.")
	case conf.Type == "es" && !has.SupportES:
		return errors.New("Your CPU does not support AMD SEV-ES.")
	case conf.Type == "snp" && !has.SupportSNP:
		return errors.New("Your CPU does not support AMD SEV-SNP.")
	case str(c.conf.BIOS, "") != "ovmf":
		return errors.New("To use AMD SEV, you need to change the BIOS to OVMF.")
	}
	object, policy := "sev-guest", 1<<3 // no sending to another host: AMD's migration can be attacked
	set := func(bit int, on bool) {
		if on {
			policy |= 1 << bit
		}
	}
	if conf.Type == "snp" {
		object, policy = "sev-snp-guest", 1<<17 // this bit is reserved and always set
		set(16, flag(conf.AllowSMT, true))
		set(19, !flag(conf.NoDebug, false))
	} else {
		set(0, flag(conf.NoDebug, false))
		set(1, flag(conf.NoKeySharing, false))
		set(2, conf.Type == "es")
	}
	if !c.host.QEMU.hasObject(object) {
		return fmt.Errorf("amd-sev: type '%s' is not supported by QEMU '%s' on node '%s'", conf.Type, c.host.QEMU.Version, c.host.Node)
	}
	c.add("-object", option(object, "id", "sev0", "cbitpos", itoa(has.CBitPos), "reduced-phys-bits", itoa(has.ReducedPhysBits),
		"policy", hex(policy), "kernel-hashes", ifSet(flag(conf.KernelHashes, false), "on")))
	c.flags = append(c.flags, "confidential-guest-support=sev0")
	return nil
}

func (c *composer) tdx() error {
	conf := c.conf.IntelTDX
	switch {
	case c.host.TDX == nil || !c.host.TDX():
		return errors.New("Your CPU does not support Intel TDX.")
	case str(c.conf.BIOS, "") != "ovmf":
		return errors.New("To use Intel TDX, you need to change the BIOS to OVMF.")
	case !c.host.QEMU.hasObject("tdx-guest"):
		return fmt.Errorf("intel-tdx needs QEMU 10.1, installed on node '%s' is '%s'", c.host.Node, c.host.QEMU.Version)
	}
	object := map[string]any{"qom-type": "tdx-guest", "id": "tdx0"}
	if conf.Attestation {
		object["quote-generation-socket"] = map[string]any{
			"type": "vsock", "cid": itoa(num(conf.VSockCID, 2)), "port": itoa(num(conf.VSockPort, 4050)),
		}
	}
	c.add("-object", canonical(object))
	c.flags = append(c.flags, "confidential-guest-support=tdx0")
	return nil
}
