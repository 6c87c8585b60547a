package disks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Request asks for drives.
type Request struct {
	VMID    id.VM
	Drives  schema.Params // the options of the drives, by key; other options are left alone
	Values  schema.Params // what the VM is configured with besides
	Storage id.Storage    // for new volumes that do not say where; empty for none
	BWLimit *int          // for what is imported, in KiB/s; nil for what the storages say
}

// errNoStorage is upstream's word on a new volume that nobody said a place for.
var errNoStorage = errors.New("no storage ID specified (and no default storage)")

// Normalize checks what the values of drives say, by themselves, and returns them as
// they are kept until the volumes are made: a path of the host that lies in a storage
// becomes that volume. It looks at texts only. An error is a fault of a parameter.
func (s *Service) Normalize(ctx context.Context, values schema.Params) (schema.Params, error) {
	kept := schema.Params{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if kind := qemu.KindOfDrive(key); kind == 0 || kind == qemu.UnusedDisks {
			continue
		}
		d, err := qemu.ParseDrive(key, values[key])
		if err != nil || d.Bus == "virtio" && d.IsCDROM() {
			return nil, api.BadParam(key, "unable to parse drive options")
		}
		if err := checkImport(key, d); err != nil {
			return nil, err
		}
		if err := s.associate(ctx, &d); err != nil {
			return nil, err
		}
		kept[key] = qemu.PrintDrive(d)
	}
	return kept, nil
}

// checkImport checks what has to be beside import-from.
func checkImport(key string, d qemu.Drive) error {
	if d.ImportFrom == nil {
		return nil
	}
	if _, size, ok := asksNew(d.File); !ok || strings.Trim(size, "0.") != "" {
		return api.BadParam(key, "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>")
	}
	missing := ""
	switch {
	case d.Bus == "efidisk" && d.EFIType == nil:
		missing = "efitype"
	case d.Bus == "efidisk" && d.PreEnrolledKeys == nil:
		missing = "pre-enrolled-keys"
	case d.Bus == "tpmstate" && d.TPMVersion == nil:
		missing = "version"
	}
	if missing != "" {
		return api.BadParam(key, "need to specify '%s' when using 'import-from'", missing)
	}
	return nil
}

// associate replaces a path of the host by the volume that lies there. Devices are
// left as they are.
func (s *Service) associate(ctx context.Context, d *qemu.Drive) error {
	defer func() {
		if d.Media == nil && (d.File == "none" || d.File == "cdrom") {
			d.Media = new("cdrom")
		}
	}()
	_, _, fresh := asksNew(d.File)
	if none(d.File) || fresh || strings.HasPrefix(d.File, "/dev/") || strings.Contains(d.File, ":") || d.File == "cloudinit" {
		return nil
	}
	content, volume, err := s.Storage.Locate(ctx, d.File)
	if err != nil {
		return err
	}
	if content == "" {
		return api.BadParam(d.Key(), "unable to associate path '%s' to any storage", d.File)
	}
	if d.Media == nil && content == storage.ISO {
		d.Media = new("cdrom")
	}
	if d.Media != nil {
		expected := storage.Images
		if *d.Media == "cdrom" {
			expected = storage.ISO
		}
		if content != expected {
			return api.BadParam(d.Key(), "unexpected media type (%s != %s)", content, expected)
		}
	}
	d.File = volume.String()
	return nil
}

// Check refuses drives whose volumes cannot be made or used, before anything is
// touched: storages that are not there or hold no images, names that are none.
func (s *Service) Check(ctx context.Context, r Request) error {
	for d := range qemu.Drives(r.Drives, qemu.Volumes) {
		if err := s.check(ctx, r, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) check(ctx context.Context, r Request, d qemu.Drive) error {
	storeid, _, fresh := asksNew(d.File)
	switch _, image := asksCloudInit(d.File); {
	case none(d.File), image, strings.HasPrefix(d.File, "/"):
	case fresh && !d.IsCDROM():
		if err := s.checkRoom(ctx, storeid, r.Storage); err != nil {
			return err
		}
	default:
		if err := s.checkVolume(ctx, d); err != nil {
			return err
		}
	}
	if d.ImportFrom == nil {
		return nil
	}
	return s.checkSource(ctx, d.Key(), *d.ImportFrom)
}

// checkRoom checks that new images can be made on a storage.
func (s *Service) checkRoom(ctx context.Context, storeid, otherwise id.Storage) error {
	if storeid == "" {
		storeid = otherwise
	}
	if storeid == "" {
		return errNoStorage
	}
	d, err := s.Storage.Lookup(ctx, storeid)
	if err != nil {
		return err
	}
	if !d.Has(storage.Images) {
		return api.BadParam("storage", "storage '%s' does not support vm images", storeid)
	}
	return nil
}

func (s *Service) checkVolume(ctx context.Context, d qemu.Drive) error {
	v, err := id.ParseVolume(d.File)
	if err != nil {
		return err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	if n.Content != storage.Images && n.Content != storage.ISO {
		return api.BadParam(d.Key(), "content type needs to be 'images' or 'iso'")
	}
	return nil
}

// checkSource checks what a drive is to be imported from.
func (s *Service) checkSource(ctx context.Context, key, source string) error {
	if strings.HasPrefix(source, "/") {
		return nil
	}
	v, err := id.ParseVolume(source)
	if err != nil {
		return err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	if n.Content != storage.Images && n.Content != storage.Imports {
		return api.BadParam(key, "%s has wrong type '%s' - needs to be 'images' or 'import'", source, n.Content)
	}
	if n.Content == storage.Imports && (n.Format == "ova" || n.Format == "ovf") {
		return api.BadParam(key, "%s is not an image", source)
	}
	return nil
}

// otherCloudInit returns the drive that cloud-init reads in values, other than key.
func otherCloudInit(values schema.Params, key string) string {
	for d := range qemu.Drives(values, qemu.Disks) {
		if d.IsCloudInit() && d.Key() != key {
			return d.Key()
		}
	}
	return ""
}

// checkOneCloudInit refuses a second drive for cloud-init.
func checkOneCloudInit(key string, sections ...schema.Params) error {
	for _, values := range sections {
		if other := otherCloudInit(values, key); other != "" {
			return fmt.Errorf("%s - cloud-init drive is already attached at '%s'", key, other)
		}
	}
	return nil
}
