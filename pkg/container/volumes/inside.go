package volumes

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Inside lets fn change the files of a volume that is in use by nobody. values are those of
// the container that has it.
func (s *Service) Inside(ctx context.Context, v id.Volume, values schema.Params, fn func(*rootfs.Root) error) error {
	p, err := pointOf(values, v.String())
	if err != nil {
		return err
	}
	uid, gid, err := rootOn(p, values)
	if err != nil {
		return err
	}
	view, err := s.open(ctx, v, "", false)
	if err != nil {
		return err
	}
	defer view.Close()
	root, err := rootfs.Open(fmt.Sprintf("/proc/self/fd/%d", view.Root.Fd()), rootfs.Owner{UID: uid, GID: gid})
	if err != nil {
		return err
	}
	defer root.Close()
	return fn(root)
}
