package setup

// RedHatHostname writes hosts, hostname and the network file of Red Hat's kin, which all have
// the whole name with its domain.
func (t *Target) RedHatHostname() error {
	if err := t.Hosts(); err != nil {
		return err
	}
	if err := t.Write("/etc/hostname", t.FullHostname()+"\n"); err != nil {
		return err
	}
	return t.Edit("/etc/sysconfig/network", func(text string) string { return variable(text, "HOSTNAME", t.FullHostname()) })
}
