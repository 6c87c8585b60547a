package storage

import (
	"context"
	"os"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// An Attacher has volumes that QEMU reaches by another driver than those of files and
// block devices. It is an optional ability of a [Pool].
type Attacher interface {
	// Blockdev returns the driver of the protocol and its options, as QEMU's blockdev-add
	// takes them. It only looks at the text: the volume need not be there.
	Blockdev(name string) (map[string]any, error)
}

// An Addresser has volumes whose addresses only their server knows. It is an optional
// ability of a [Pool], whose Path then fails.
type Addresser interface {
	// Address asks for what Path returns for others.
	Address(ctx context.Context, name, snap string) (string, error)
	// Attach asks for what Blockdev returns for others.
	Attach(ctx context.Context, name string) (map[string]any, error)
}

// Blockdev returns how QEMU reaches a volume: the driver of the protocol and its
// options, as blockdev-add takes them. The volume need not be there.
func (s *Service) Blockdev(ctx context.Context, v id.Volume) (map[string]any, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return nil, err
	}
	switch a := p.(type) {
	case Addresser:
		return a.Attach(ctx, v.Name)
	case Attacher:
		return a.Blockdev(v.Name)
	}
	path, err := p.Path(v.Name, "")
	if err != nil {
		return nil, err
	}
	driver := "file"
	if st, err := os.Stat(path); err == nil && st.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice {
		driver = "host_device"
	}
	return map[string]any{"driver": driver, "filename": path}, nil
}
