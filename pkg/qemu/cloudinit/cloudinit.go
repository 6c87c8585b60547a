// Package cloudinit makes the small CD from which cloud-init, cloudbase-init or OpenNebula's
// contextualization set up a guest at its first boot.
//
// What is on the CD is a function of the VM's options and of two facts of the host: the text of
// its resolv.conf, and snippets that replace parts. Changes since the CD was last written are
// kept in the guest's configuration file, in the section [special:cloudinit].
package cloudinit

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// The layouts of the CD.
const (
	NoCloud     = "nocloud"
	ConfigDrive = "configdrive2"
	OpenNebula  = "opennebula"
)

// The parts that [Guest.Dump] shows.
const (
	User    = "user"
	Network = "network"
	Meta    = "meta"
)

// VolumeSize is how large the volume of a CD is made, in bytes.
const VolumeSize = 4 << 20

// maxContent bounds all files together, so that they fit a volume of VolumeSize with what the
// file system adds.
const maxContent = 3 << 20

// ErrTooLarge is returned where the files do not fit on the CD.
var ErrTooLarge = errors.New("Cloud-Init sum of snippets too big (> 3 MiB)") //nolint:staticcheck // upstream's text

// A Guest is a VM and what is known of its host.
type Guest struct {
	ID       id.VM
	Config   *qemu.Config
	Resolver string // the text of the host's resolv.conf, for what the VM does not say itself
	// Snippet reads the snippet volume of the given id, for cicustom.
	Snippet func(ctx context.Context, volume string) (string, error)
}

// Content is what a CD holds.
type Content struct {
	Label string
	Files map[string]string // by path, with slashes
}

// VolumeName returns the name of the volume that holds the CD of a VM, without the folder and
// ending that storages add.
func VolumeName(vm id.VM) string { return fmt.Sprintf("vm-%d-cloudinit", vm) }

// IsVolume tells whether a volume, given by its id, holds the CD of the VM.
func IsVolume(vm id.VM, volume string) bool {
	_, name, ok := strings.Cut(volume, ":")
	if !ok {
		return false
	}
	name = name[strings.LastIndexByte(name, '/')+1:]
	rest, ok := strings.CutPrefix(name, VolumeName(vm))
	return ok && (rest == "" || rest[0] == '.')
}

// Layout returns the layout of the VM's CD. Windows guests get a config drive unless
// citype says otherwise, since cloudbase-init reads nothing else.
func Layout(c *qemu.Config) string {
	switch {
	case c.CIType != nil:
		return *c.CIType
	case isWindows(c):
		return ConfigDrive
	}
	return NoCloud
}

func isWindows(c *qemu.Config) bool {
	return c.OSType != nil && strings.HasPrefix(*c.OSType, "w")
}

// Dump returns one part as it is generated, without regard to cicustom. The OpenNebula
// layout has a single file, which is shown for each.
func (g Guest) Dump(part string) (string, error) {
	layout := Layout(g.Config)
	if layout == OpenNebula {
		return g.context()
	}
	switch part {
	case User:
		return g.userData()
	case Network:
		return g.network(layout)
	case Meta:
		user, err := g.userData()
		if err != nil {
			return "", err
		}
		network, err := g.network(layout)
		if err != nil {
			return "", err
		}
		return g.meta(layout, user, network)
	}
	return "", fmt.Errorf("cloud-init has no part %q", part)
}

// Content returns all that belongs on the CD, with the parts of cicustom in their places.
func (g Guest) Content(ctx context.Context) (*Content, error) {
	layout := Layout(g.Config)
	if layout == OpenNebula {
		text, err := g.context()
		if err != nil {
			return nil, err
		}
		return limited(&Content{"CONTEXT", map[string]string{"context.sh": text}})
	}
	custom := g.Config.CICustom
	if custom == nil {
		custom = &qemu.CICustom{}
	}
	user, err := g.part(ctx, custom.User, g.userData)
	if err != nil {
		return nil, err
	}
	network, err := g.part(ctx, custom.Network, func() (string, error) { return g.network(layout) })
	if err != nil {
		return nil, err
	}
	meta, err := g.part(ctx, custom.Meta, func() (string, error) { return g.meta(layout, user, network) })
	if err != nil {
		return nil, err
	}
	vendor, err := g.part(ctx, custom.Vendor, func() (string, error) { return "", nil })
	if err != nil {
		return nil, err
	}
	c := &Content{"cidata", map[string]string{"user-data": user, "network-config": network, "meta-data": meta}}
	vendorFile := "vendor-data"
	if layout == ConfigDrive {
		c = &Content{"config-2", map[string]string{
			"openstack/latest/user_data": user, "openstack/content/0000": network, "openstack/latest/meta_data.json": meta,
		}}
		vendorFile = "openstack/latest/vendor_data.json"
	}
	if vendor != "" { // an empty file is an error to some readers
		c.Files[vendorFile] = vendor
	}
	return limited(c)
}

// part reads the snippet of a part, or generates it where there is none.
func (g Guest) part(ctx context.Context, snippet *string, generate func() (string, error)) (string, error) {
	if snippet == nil {
		return generate()
	}
	if g.Snippet == nil {
		return "", fmt.Errorf("cicustom: snippet %s cannot be read here", *snippet)
	}
	text, err := g.Snippet(ctx, *snippet)
	if err != nil {
		return "", fmt.Errorf("cicustom: %w", err)
	}
	return text, nil
}

func limited(c *Content) (*Content, error) {
	sum := 0
	for _, text := range c.Files {
		sum += len(text)
	}
	if sum > maxContent {
		return nil, ErrTooLarge
	}
	return c, nil
}

func (g Guest) network(layout string) (string, error) {
	if layout == NoCloud {
		return g.networkConfig()
	}
	return g.interfaces()
}

func (g Guest) meta(layout, user, network string) (string, error) {
	// A new instance id makes cloud-init apply everything again, so it changes when
	// what is to be applied does, and only then.
	sum := sha1.Sum([]byte(user + network))
	instance := hex.EncodeToString(sum[:])
	switch {
	case layout == NoCloud:
		return "instance-id: " + instance + "\n", nil
	case isWindows(g.Config):
		return g.cloudbaseMeta(instance)
	}
	return fmt.Sprintf("{\n     \"uuid\": \"%s\",\n     \"network_config\": { \"content_path\": \"/content/0000\" }\n}\n", instance), nil
}

// names returns the guest's host name without and with its domain. A VM without a name is
// called after its number.
func (g Guest) names() (host, full string) {
	full = "VM" + strconv.Itoa(int(g.ID))
	if g.Config.Name != nil && *g.Config.Name != "" {
		full = *g.Config.Name
	}
	host, _, dotted := strings.Cut(full, ".")
	if !dotted && g.Config.SearchDomain != nil {
		if domains := strings.Fields(*g.Config.SearchDomain); len(domains) > 0 {
			full += "." + domains[0]
		}
	}
	return host, full
}
