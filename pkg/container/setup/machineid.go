package setup

import "strings"

const (
	machineID = "/etc/machine-id"
	dbusID    = "/var/lib/dbus/machine-id"
)

// clearMachineID takes away by what a container is taken for another one. In a new container
// systemd then does what belongs to a first boot; in a clone it makes a new id and no more, but
// where the original says "uninitialized". Without systemd nothing would make an id, so a new
// one is written.
func (t *Target) clearMachineID(clone bool) error {
	if !t.HasSystemd() {
		return t.newMachineID()
	}
	if info, err := t.Root.Lstat(dbusID); err == nil && info.IsRegular() {
		if err := t.Remove(dbusID); err != nil {
			return err
		}
	}
	if !t.Exists(machineID) {
		return nil
	}
	if !clone {
		return t.Remove(machineID)
	}
	old, err := t.FirstLine(machineID)
	if err != nil || old == "uninitialized" {
		return err
	}
	return t.Write(machineID, "\n")
}

func (t *Target) newMachineID() error {
	id := strings.ReplaceAll(t.Env.UUID(), "-", "") + "\n"
	for _, name := range []string{machineID, dbusID} {
		info, err := t.Root.Lstat(name)
		if err != nil || !info.IsRegular() || info.Size == 0 {
			continue
		}
		if err := t.Write(name, id); err != nil {
			return err
		}
	}
	return nil
}
