package volumes

import (
	"context"
	"encoding/binary"
	"os"

	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Settle tells the file system of a volume that went back to a state of a running container
// that nobody has it mounted. The multi-mount protection of ext4 would otherwise wait for
// another node's sign of life at the next mount, three quarters of a minute long. The
// container is off and its configuration locked, so there is no such node.
func (s *Service) Settle(ctx context.Context, v id.Volume) error {
	var m mount.Point
	if err := s.volumePoint(ctx, v, "", &m); err != nil {
		return err
	}
	if m.Format == mount.Subvol || m.Frozen {
		return nil
	}
	protected, err := isProtected(m.Source)
	if err != nil || !protected {
		return err
	}
	c := run.Command("tune2fs", "-f", "-E", "clear_mmp", m.Source) // it has to be forced, or it waits too
	c.Env = []string{"LC_ALL=C"}
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", c)
		return nil
	}
	return s.Run.Run(ctx, c)
}

// Where the superblock of ext2, ext3 and ext4 begins and what it has, see ext4's documentation
// in the kernel: the magic number, and a word with features, MMP among them.
const (
	superblock      = 1024
	magicAt         = superblock + 0x38
	magic           = 0xEF53
	featuresAt      = superblock + 0x60
	featureMMP      = 0x100
	superblockBytes = superblock + 1024
)

// isProtected tells whether a file or device has an ext4 with multi-mount protection.
func isProtected(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, superblockBytes)
	if n, err := f.ReadAt(head, 0); n < len(head) {
		return false, ignoreShort(n, err)
	}
	return binary.LittleEndian.Uint16(head[magicAt:]) == magic && binary.LittleEndian.Uint32(head[featuresAt:])&featureMMP != 0, nil
}

// ignoreShort takes what is too small for a file system as one without.
func ignoreShort(n int, err error) error {
	if n > 0 {
		return nil
	}
	return err
}
