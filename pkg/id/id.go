// Package id has the identifiers that all of virtsmith shares: of guests, nodes,
// storages, volumes, users and tasks. Each is a type of its own that knows its
// schema, so that a mix-up does not compile and no door checks twice.
package id

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// VM is the number of a guest, 100 to 999999999, unique in the cluster.
type VM int

// Describe makes VM a standard option.
func (VM) Describe(s *schema.Schema) {
	s.Format = "pve-vmid"
	s.Minimum, s.Maximum = new(100.0), new(999999999.0)
	s.Description = "Number of the guest, unique in the cluster."
}

func (v VM) String() string { return strconv.Itoa(int(v)) }

// Node is the name of a node.
type Node string

// Describe makes Node a standard option.
func (Node) Describe(s *schema.Schema) {
	s.Format = "pve-node"
	s.Description = "Name of the node."
}

// Storage is the name of a storage, a section of storage.cfg.
type Storage string

// Describe makes Storage a standard option.
func (Storage) Describe(s *schema.Schema) {
	s.Format, s.Hint = "pve-storage-id", "storage ID"
	s.Description = "Name of the storage."
}

// Snapshot is the name of a snapshot.
type Snapshot string

// Describe makes Snapshot a standard option.
func (Snapshot) Describe(s *schema.Schema) {
	s.Format, s.MaxLength = "pve-configid", new(40)
	s.Description = "Name of the snapshot."
}

// Volume names a volume: its storage, a colon, and a name that means something to
// that storage.
type Volume struct {
	Storage Storage
	Name    string
}

// ParseVolume takes apart a volume id.
func ParseVolume(text string) (Volume, error) {
	if err := schema.CheckFormat("pve-volume-id", text); err != nil {
		return Volume{}, err
	}
	storeid, name, _ := strings.Cut(text, ":")
	return Volume{Storage(storeid), name}, nil
}

// IsVolume tells whether text is a volume id, not a path of the host, "none" or
// "cdrom".
func IsVolume(text string) bool { return schema.CheckFormat("pve-volume-id", text) == nil }

func (v Volume) String() string { return fmt.Sprintf("%s:%s", v.Storage, v.Name) }

// MarshalText implements encoding.TextMarshaler.
func (v Volume) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Volume) UnmarshalText(text []byte) (err error) {
	*v, err = ParseVolume(string(text))
	return err
}
