package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// A User is somebody who wants to use a volume. Its checks fail with what users are to
// read.
type User interface {
	// IsRoot tells whether it is root@pam himself, and no token of his.
	IsRoot() bool
	// Check fails unless the user has all of the privileges on a path.
	Check(path string, privileges ...string) error
	// CheckAny fails unless the user has one of the privileges on a path.
	CheckAny(path string, privileges ...string) error
}

// CheckAccess fails unless the user may read what text names: a volume id or, of root
// alone, anything else, which then is a path of the host.
//
// guest is the one that it is for, 0 for none: what belongs to it may be used by whoever
// may change it, which is for the caller to check. c is the content that it must have,
// empty for any; another is refused even to root.
func (s *Service) CheckAccess(ctx context.Context, u User, text string, guest id.VM, c Content) error {
	if !id.IsVolume(text) {
		if !u.IsRoot() {
			return errors.New("Only root can pass arbitrary filesystem paths.") //nolint:staticcheck // upstream's text
		}
		return nil
	}
	v, err := id.ParseVolume(text)
	if err != nil {
		return err
	}
	n, err := s.Parse(ctx, v)
	if err != nil {
		return err
	}
	// The name does not say whether an image is the root of a container.
	if c != "" && n.Content != c && (c != Rootdir || n.Content != Images) {
		return fmt.Errorf("unable to use volume %s - content type needs to be '%s'", v, c)
	}
	return checkVolume(u, v, n, guest)
}

func checkVolume(u User, v id.Volume, n Name, guest id.VM) error {
	storage, owner := "/storage/"+string(v.Storage), fmt.Sprintf("/vms/%d", n.Guest)
	if u.Check(storage, "Datastore.Allocate") == nil {
		return nil
	}
	both := func(onStorage, onOwner string) error {
		if err := u.Check(storage, onStorage); err != nil {
			return err
		}
		return u.Check(owner, onOwner)
	}
	switch {
	case n.Content == ISO || n.Content == Templates:
		return u.CheckAny(storage, "Datastore.AllocateSpace", "Datastore.Audit")
	case n.Guest != 0 && n.Guest == guest:
		return nil
	case n.Guest != 0 && n.Content == Backups:
		return both("Datastore.AllocateSpace", "VM.Backup")
	case n.Guest != 0 && (n.Content == Images || n.Content == Rootdir):
		return both("Datastore.Audit", "VM.Config.Disk")
	}
	return fmt.Errorf("missing privileges to access %s", v)
}
