// Package imports turns what other hypervisors have written into the options of a new
// VM.
package imports

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/ovf"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Read reads the manifest at a path of the host.
func Read(ctx context.Context, s *storage.Service, path string) (*ovf.Machine, error) {
	return ovf.Read(ctx, path, func(ctx context.Context, image string) (int64, error) { return s.FileSize(ctx, image, "") })
}

// ReadVolume reads the manifest that a volume of an import storage is.
func ReadVolume(ctx context.Context, s *storage.Service, volume string) (*ovf.Machine, error) {
	v, err := id.ParseVolume(volume)
	if err != nil {
		return nil, err
	}
	n, err := s.Parse(ctx, v)
	if err != nil {
		return nil, err
	}
	if n.Content != storage.Imports || n.Format != "ovf" {
		return nil, fmt.Errorf("%s is not a manifest (.ovf) on an import storage", volume)
	}
	if err := s.Activate(ctx, v.Storage); err != nil {
		return nil, err
	}
	path, err := s.Path(ctx, v, "")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("can't open '%s' - No such file or directory", path)
	}
	return Read(ctx, s, path)
}

// Options returns the options of a VM like the one described, whose disks go to a
// storage. Network cards are left out: to which bridge they belong only the user
// knows.
func Options(m *ovf.Machine, storeid id.Storage, format string) schema.Params {
	values := maps.Clone(m.Options)
	for _, d := range m.Disks {
		text := string(storeid) + ":0,import-from=" + d.File
		if d.File == "" {
			gib := float64(d.Size) / (1 << 30)
			text = string(storeid) + ":" + strconv.FormatFloat(gib, 'f', -1, 64)
		}
		if format != "" {
			text += ",format=" + format
		}
		values[d.Address] = text
	}
	return values
}
