package disks

import (
	"context"
	"fmt"
	"os"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Import says which image becomes a disk of a VM.
type Import struct {
	VM      id.VM
	Source  string // path of an image
	Storage id.Storage
	Format  string // of the disk; empty for the storage's own
	Key     string // of the drive that holds it; empty for an unused disk
	// Attach gives the VM, whose lock is held, the drive.
	Attach func(ctx context.Context, vmid id.VM, doc *config.Doc, key, value string) error
}

// Import copies an image into a new disk of a VM that is there. The VM is locked only
// when the copy is done. When it fails, or ctx ends, the VM is what it was.
func (s *Service) Import(ctx context.Context, o Import) error {
	if err := s.checkDiskImport(ctx, o); err != nil {
		return err
	}
	tell(ctx, "importing disk '%s' to VM %s ...\n", o.Source, o.VM)
	undo := undoList(ctx)
	defer undo.Fail()
	v, err := s.ImportFile(ctx, o.Source, o.VM, o.Storage, o.Format, undo)
	if err != nil {
		return err
	}
	key := o.Key
	if err := s.Locked(ctx, o.VM, "import of "+o.Source, func(ctx context.Context) (err error) {
		key, err = s.take(ctx, o, v)
		return err
	}); err != nil {
		return err
	}
	undo.Success()
	tell(ctx, "%s: successfully imported disk '%s'\n", key, v)
	return nil
}

// checkDiskImport refuses an import before anything is touched.
func (s *Service) checkDiskImport(ctx context.Context, o Import) error {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return err
	}
	if err := guest.CheckLock(cluster.VM, doc); err != nil {
		return err
	}
	if info, err := os.Stat(o.Source); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%s: non-existent or non-regular file", o.Source)
	}
	def, err := s.Storage.Enabled(ctx, o.Storage)
	if err != nil {
		return err
	}
	if !def.Has(storage.Images) {
		return fmt.Errorf("storage %s does not support vm images", o.Storage)
	}
	return nil
}

// take notes a new volume in the configuration, and returns where.
func (s *Service) take(ctx context.Context, o Import, v id.Volume) (string, error) {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return "", err
	}
	if err := guest.CheckLock(cluster.VM, doc); err != nil {
		return "", err
	}
	if o.Key == "" {
		key, err := guest.AddUnused(doc.Values, v.String())
		if err != nil {
			return "", err
		}
		return key, s.Save(ctx, o.VM, doc)
	}
	if doc.Values[o.Key] != "" || doc.Pending[o.Key] != "" {
		return "", fmt.Errorf("cowardly refusing to overwrite existing entry: %s", o.Key)
	}
	if o.Attach == nil {
		doc.Values[o.Key] = v.String()
		return o.Key, s.Save(ctx, o.VM, doc)
	}
	return o.Key, o.Attach(ctx, o.VM, doc, o.Key, v.String())
}
