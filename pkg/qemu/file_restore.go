package qemu

import (
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Restore says how the configuration in a backup becomes that of a VM.
type Restore struct {
	Volumes map[string]string      // the volumes that were made for its drives, by key
	Unique  bool                   // the VM is another one than was backed up
	NewUUID func() string          // makes an id for firmware and generation
	NewMAC  func() (string, error) // makes a hardware address
}

// Rewrite returns the text of a configuration with the lines changed that a restored VM has
// otherwise. What belongs to the VM that was backed up goes: its lock, the snapshot it came
// after, its unused volumes. A drive that was not backed up becomes a comment.
func (r Restore) Rewrite(text string) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, err := r.line(strings.TrimRight(line, "\n"))
		if err != nil {
			return "", err
		}
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String(), nil
}

// line returns what becomes of a line; empty where it goes.
func (r Restore) line(line string) (string, error) {
	if strings.HasPrefix(line, "#qmdump#") || strings.HasPrefix(line, "#vzdump#") {
		return "", nil
	}
	key, value, ok := strings.Cut(line, ":")
	if value = strings.TrimSpace(value); !ok || strings.HasPrefix(line, "#") {
		return line, nil
	}
	family, _, member := schema.Member(key)
	switch {
	case key == "lock", key == "parent", member && family == "unused":
		return "", nil
	case member && family == "net" && r.Unique:
		return r.net(line, key, value)
	case member && slices.Contains([]string{"ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"}, family):
		return r.drive(line, key, value), nil
	case key == "vmgenid" && value != "0": // the guest is to learn that this is another life
		return key + ": " + r.NewUUID(), nil
	case key == "smbios1" && r.Unique:
		return r.firmware(line, value), nil
	}
	return line, nil
}

// keysOf returns the schema of the property string that an option is.
func keysOf(option string) *schema.Schema {
	f, _ := schema.TypeOf(reflect.TypeFor[Config]()).Lookup(option)
	return f.Schema
}

func (r Restore) net(line, key, value string) (string, error) {
	keys := keysOf(key)
	p, err := keys.ParseString(value)
	if err != nil || p["macaddr"] == "" {
		return line, nil //nolint:nilerr // a line that is not understood stays
	}
	if p["macaddr"], err = r.NewMAC(); err != nil {
		return "", err
	}
	return key + ": " + keys.PrintString(p), nil
}

func (r Restore) drive(line, key, value string) string {
	keys := keysOf(key)
	p, err := keys.ParseString(value)
	if err != nil {
		return line
	}
	if p["backup"] == "0" {
		return "#" + line
	}
	volume, ok := r.Volumes[key]
	if !ok {
		return line
	}
	delete(p, "format")
	p["file"] = volume
	return key + ": " + keys.PrintString(p)
}

func (r Restore) firmware(line, value string) string {
	keys := keysOf("smbios1")
	p, err := keys.ParseString(value)
	if err != nil {
		return line
	}
	p["uuid"] = r.NewUUID()
	return "smbios1: " + keys.PrintString(p)
}
