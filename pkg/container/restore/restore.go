// Package restore is what a backup of a container, an archive that vzdump wrote, says of
// the container: its configuration and its firewall rules, which lie among its files, the
// volumes that are to be made for it, and the options it keeps when it comes back, as it
// was or as another one. Its files are unpacked by package unpack; making volumes and
// writing the new configuration is up to who creates the container.
package restore

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// ErrNoConfig is the error of an archive that holds no configuration.
var ErrNoConfig = errors.New("archive contains no configuration file")

// ErrOpenVZ is the error of a backup that was made of an OpenVZ container.
var ErrOpenVZ = errors.New("the backup is of an OpenVZ container, whose configuration cannot be restored")

// largest is the size up to which a configuration in a backup is read.
const largest = 1 << 20

// A Backup is what an archive holds beside the files of the container.
type Backup struct {
	Config []byte
	// Firewall are the rules, nil where the archive has none.
	Firewall []byte
}

// Read finds the configuration in an archive. It lies at the begin, and no more is read;
// the rules of the firewall come right after it.
func Read(ctx context.Context, s *unpack.Source, o unpack.Options) (*Backup, error) {
	b, openVZ := &Backup{}, false
	err := unpack.Walk(ctx, s, o, func(name string, h *tar.Header, content io.Reader) (bool, error) {
		regular := h.Typeflag == tar.TypeReg
		switch {
		case name == unpack.OpenVZConfig && regular:
			openVZ = true
			return true, nil
		case name == unpack.BackupConfig && regular && b.Config == nil:
			var err error
			b.Config, err = readAll(content)
			return false, err
		case name == unpack.BackupFirewall && regular && b.Config != nil:
			text, err := readAll(content)
			if len(text) > 0 {
				b.Firewall = text
			}
			return true, err
		}
		return b.Config != nil, nil
	})
	switch {
	case err != nil:
		return nil, err
	case openVZ:
		return nil, ErrOpenVZ
	case b.Config == nil:
		return nil, ErrNoConfig
	}
	return b, nil
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, largest+1))
	if err == nil && len(text) > largest {
		err = errors.New("it is too large for a configuration")
	}
	if text == nil {
		text = []byte{}
	}
	return text, err
}

// Doc reads the configuration. What is wrong in it is told to warn; snapshots and pending
// changes are not restored.
func (b *Backup) Doc(vmid id.VM, warn func(string)) (*config.Doc, error) {
	doc, err := container.ReadDoc(vmid, b.Config, false, warn)
	if err != nil {
		return nil, err
	}
	doc.Snapshots, doc.Pending, doc.Digest = nil, nil, ""
	return doc, nil
}

// TakeOut removes from the unpacked root what vzdump has added to the files of the
// container, and returns the rules of the firewall, nil where there are none. What is not
// a regular file is no work of vzdump.
func TakeOut(root *rootfs.Root) (firewall []byte, err error) {
	for _, name := range []string{unpack.BackupConfig, unpack.BackupFirewall} {
		info, err := root.Lstat(name)
		if err != nil || !info.IsRegular() {
			continue // it has none
		}
		if name == unpack.BackupFirewall && info.Size > 0 {
			if firewall, err = root.ReadFile(name, largest); err != nil {
				return nil, fmt.Errorf("firewall rules in the backup: %w", err)
			}
		}
		if err := root.Remove(name); err != nil {
			return nil, err
		}
	}
	return firewall, nil
}
