package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Parse reads the name of a volume.
func (s *Service) Parse(ctx context.Context, v id.Volume) (Name, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return Name{}, err
	}
	return p.Parse(v.Name)
}

// Path returns where QEMU finds a volume, or its state in a snapshot. The volume
// need not be there.
func (s *Service) Path(ctx context.Context, v id.Volume, snap string) (string, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return "", err
	}
	if a, ok := p.(Addresser); ok {
		return a.Address(ctx, v.Name, snap)
	}
	return p.Path(v.Name, snap)
}

// Has tells whether a volume, or its state in a snapshot, can do what the feature
// says.
func (s *Service) Has(ctx context.Context, f Feature, v id.Volume, snap string) (bool, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return false, err
	}
	return p.Has(f, v.Name, snap), nil
}

// ActivateVolumes makes volumes ready, and their storages. One that is not there
// is an error.
func (s *Service) ActivateVolumes(ctx context.Context, snap string, volumes ...id.Volume) error {
	return s.each(ctx, volumes, func(p Pool, v id.Volume) error {
		if a, ok := p.(VolumeActivator); ok {
			return exist(a.ActivateVolume(ctx, v.Name, snap), v)
		}
		return nil
	})
}

// DeactivateVolumes is the inverse of ActivateVolumes. It goes through all of them
// whatever fails.
func (s *Service) DeactivateVolumes(ctx context.Context, snap string, volumes ...id.Volume) error {
	var errs []error
	for _, v := range volumes {
		p, err := s.Pool(ctx, v.Storage)
		if a, ok := p.(VolumeActivator); ok && err == nil {
			err = a.DeactivateVolume(ctx, v.Name, snap)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Service) each(ctx context.Context, volumes []id.Volume, do func(Pool, id.Volume) error) error {
	ready := map[id.Storage]Pool{}
	for _, v := range volumes {
		if ready[v.Storage] == nil {
			p, err := s.use(ctx, v.Storage)
			if err != nil {
				return err
			}
			ready[v.Storage] = p
		}
	}
	for _, v := range volumes {
		if err := do(ready[v.Storage], v); err != nil {
			return err
		}
	}
	return nil
}

// exist says that a volume is not there as upstream does.
func exist(err error, v id.Volume) error {
	if errors.Is(err, ErrNotExist) {
		return Told(fmt.Sprintf("volume '%s' does not exist", v), err)
	}
	return err
}

// Told is an error with a text of upstream's, which says all that people need. Its cause
// is for callers that branch on it.
func Told(text string, cause error) error { return &told{text, cause} }

type told struct {
	text  string
	cause error
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.cause }

// Alloc makes a volume on a storage that can be used here.
func (s *Service) Alloc(ctx context.Context, storeid id.Storage, r Alloc) (id.Volume, error) {
	p, err := s.use(ctx, storeid)
	if err != nil {
		return id.Volume{}, err
	}
	if r.Format == "" {
		if r.Format, _, err = s.DefaultFormat(ctx, storeid); err != nil {
			return id.Volume{}, err
		}
	}
	name, err := p.Alloc(ctx, r)
	return id.Volume{Storage: storeid, Name: name}, err
}

// Free removes a volume.
func (s *Service) Free(ctx context.Context, v id.Volume) error {
	p, err := s.use(ctx, v.Storage)
	if err != nil {
		return err
	}
	return p.Free(ctx, v.Name)
}

// List returns the volumes of a storage that the filter lets through. Without
// contents in the filter it is those that the storage is used for.
func (s *Service) List(ctx context.Context, storeid id.Storage, f Filter) ([]Volume, error) {
	p, err := s.use(ctx, storeid)
	if err != nil {
		return nil, err
	}
	if f.Content == nil {
		d, err := s.Lookup(ctx, storeid)
		if err != nil {
			return nil, err
		}
		f.Content = d.Content
	}
	return p.List(ctx, f)
}

// Info looks at a volume.
func (s *Service) Info(ctx context.Context, v id.Volume) (Info, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return Info{}, err
	}
	info, err := p.Info(ctx, v.Name)
	return info, exist(err, v)
}

// Resize sets the size of a volume in bytes. Where its guest is running, QEMU does the
// rest.
func (s *Service) Resize(ctx context.Context, v id.Volume, size int64, running bool) error {
	p, err := ability[Resizer](ctx, s, v, "can't resize volumes of type '%s'")
	if err != nil {
		return err
	}
	return p.Resize(ctx, v.Name, size, running)
}

// Snapshot keeps the state of a volume under a name.
func (s *Service) Snapshot(ctx context.Context, v id.Volume, snap string) error {
	p, err := ability[Snapshotter](ctx, s, v, "can't snapshot volumes of type '%s'")
	if err != nil {
		return err
	}
	return p.Snapshot(ctx, v.Name, snap)
}

// DeleteSnapshot forgets a state of a volume. Where its guest is running and the state
// lies inside the image, it is left to QEMU.
func (s *Service) DeleteSnapshot(ctx context.Context, v id.Volume, snap string, running bool) error {
	p, err := ability[Snapshotter](ctx, s, v, "can't snapshot volumes of type '%s'")
	if err != nil {
		return err
	}
	return p.DeleteSnapshot(ctx, v.Name, snap, running)
}

// CanRollback says why a volume cannot go back to a state, nil where it can.
func (s *Service) CanRollback(ctx context.Context, v id.Volume, snap string) error {
	p, err := ability[Snapshotter](ctx, s, v, "can't snapshot volumes of type '%s'")
	if err != nil {
		return err
	}
	return p.CanRollback(ctx, v.Name, snap)
}

// Rollback brings a volume back to a state.
func (s *Service) Rollback(ctx context.Context, v id.Volume, snap string) error {
	p, err := ability[Snapshotter](ctx, s, v, "can't snapshot volumes of type '%s'")
	if err != nil {
		return err
	}
	return p.Rollback(ctx, v.Name, snap)
}

// Snapshots lists the states of a volume, the oldest first.
func (s *Service) Snapshots(ctx context.Context, v id.Volume) ([]Snapshot, error) {
	p, err := ability[Snapshotter](ctx, s, v, "can't snapshot volumes of type '%s'")
	if err != nil {
		return nil, err
	}
	return p.Snapshots(ctx, v.Name)
}

// Clone makes a linked clone of a volume for a guest.
func (s *Service) Clone(ctx context.Context, v id.Volume, guest id.VM, snap string) (id.Volume, error) {
	p, err := ability[Cloner](ctx, s, v, "can't clone volumes of type '%s'")
	if err != nil {
		return id.Volume{}, err
	}
	name, err := p.Clone(ctx, v.Name, guest, snap)
	return id.Volume{Storage: v.Storage, Name: name}, err
}

// CreateBase turns a volume into a base and returns its new name.
func (s *Service) CreateBase(ctx context.Context, v id.Volume) (id.Volume, error) {
	p, err := ability[BaseCreator](ctx, s, v, "can't make bases of volumes of type '%s'")
	if err != nil {
		return id.Volume{}, err
	}
	name, err := p.CreateBase(ctx, v.Name)
	return id.Volume{Storage: v.Storage, Name: name}, err
}

// Rename gives a volume to a guest, under a file name of the storage's choice where
// none is given.
func (s *Service) Rename(ctx context.Context, v id.Volume, guest id.VM, file string) (id.Volume, error) {
	p, err := ability[Renamer](ctx, s, v, "can't rename volumes of type '%s'")
	if err != nil {
		return id.Volume{}, err
	}
	name, err := p.Rename(ctx, v.Name, guest, file)
	return id.Volume{Storage: v.Storage, Name: name}, err
}

// ability opens the storage of a volume for something that not all types can do.
func ability[A any](ctx context.Context, s *Service, v id.Volume, cannot string) (A, error) {
	var none A
	p, err := s.use(ctx, v.Storage)
	if err != nil {
		return none, err
	}
	a, ok := p.(A)
	if !ok {
		d, _ := s.Lookup(ctx, v.Storage)
		return none, fmt.Errorf(cannot, d.Type)
	}
	return a, nil
}

// GuestVolumes lists the images of a guest on all storages that can be used here and
// hold images; what is wrong with one storage is told by fail and does not hide the
// others.
func (s *Service) GuestVolumes(ctx context.Context, guest id.VM, fail func(id.Storage, error)) ([]id.Volume, error) {
	c, err := s.Config(ctx)
	if err != nil {
		return nil, err
	}
	var found []id.Volume
	for _, d := range c.Storages {
		images := slices.DeleteFunc(slices.Clone(d.Content), func(c Content) bool { return c != Images && c != Rootdir })
		if d.Disabled || !d.On(s.o.Node) || len(images) == 0 {
			continue
		}
		list, err := s.List(ctx, d.ID, Filter{Content: []Content{Images, Rootdir}, Guest: guest})
		if err != nil {
			fail(d.ID, err)
			continue
		}
		for _, v := range list {
			found = append(found, id.Volume{Storage: d.ID, Name: v.Name})
		}
	}
	return found, nil
}
