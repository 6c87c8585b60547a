package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Node is a device of the host that a container gets too.
type Node struct {
	Path  string // of the host; the same below the container's /dev
	Block bool
	Major uint32
	Minor uint32
	Mode  os.FileMode // access bits
	UID   int         // of the host
	GID   int
}

// Type is the letter that rules for devices have: b or c.
func (n Node) Type() string {
	if n.Block {
		return "b"
	}
	return "c"
}

// Number is "major:minor".
func (n Node) Number() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// LookNode tells what device is at a path of the host.
func LookNode(path string) (Node, error) {
	if path == "" {
		return Node{}, errors.New("Path is not defined")
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return Node{}, fmt.Errorf("Device %s does not exist", path)
	case err != nil:
		return Node{}, fmt.Errorf("Error accessing device %s: %w", path, err)
	}
	n := Node{
		Path: path, Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev),
		Mode: os.FileMode(st.Mode & 0o777), UID: int(st.Uid), GID: int(st.Gid),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		n.Block = true
	case unix.S_IFCHR:
	default:
		return Node{}, fmt.Errorf("%s is not a device", path)
	}
	return n, nil
}

// DefaultNodeMode is the mode of nodes for which none is wished.
const DefaultNodeMode = 0o660

// ParseMode reads the mode of a node as a configuration has it: "0660"; "" is the default.
func ParseMode(text string) (os.FileMode, error) {
	if text == "" {
		return DefaultNodeMode, nil
	}
	m, err := strconv.ParseUint(text, 8, 32)
	if err != nil || m > 0o777 {
		return 0, fmt.Errorf("'%s' is no octal mode", text)
	}
	return os.FileMode(m), nil
}

// Given returns the node as the container with the given map gets it: with an owner that is
// numbered as the container does.
func (n Node) Given(ids IDs, uid, gid int, mode os.FileMode) (Node, error) {
	u, err := ids.host(false, int64(uid))
	if err != nil {
		return Node{}, err
	}
	g, err := ids.host(true, int64(gid))
	if err != nil {
		return Node{}, err
	}
	n.UID, n.GID, n.Mode = int(u), int(g), mode
	return n, nil
}

// host returns who of the host a user or group of the container is.
func (ids IDs) host(group bool, id int64) (int64, error) {
	if len(ids) == 0 {
		return id, nil
	}
	for _, r := range ids {
		if r.Group == group && r.Inside <= id && id < r.Inside+r.Count {
			return r.Outside + id - r.Inside, nil
		}
	}
	return 0, fmt.Errorf("the container has no %s %d", kind(group), id)
}

// Make makes the node at a path below the folder dir, which is to become the container's
// /dev or part of it, together with the folders on the way, which belong to owner. What is
// there is replaced, unless it is a folder.
func (n Node) Make(ctx context.Context, dir *os.File, at string, owner Owner) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("make node %s: %s %s", at, n.Type(), n.Number())
		return nil
	}
	at = path.Clean("/" + at)
	in, err := walk(dir, "/", path.Dir(at), &owner)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Path, err)
	}
	defer in.Close()
	if err := n.make(in.dir, path.Base(at)); err != nil {
		return fmt.Errorf("node %s: %w", n.Path, err)
	}
	return nil
}

func (n Node) make(dir *os.File, name string) error {
	kind := uint32(unix.S_IFCHR)
	if n.Block {
		kind = unix.S_IFBLK
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	err := unix.Mknodat(int(dir.Fd()), name, kind, int(unix.Mkdev(n.Major, n.Minor)))
	if err != nil {
		return err
	}
	if err := unix.Fchownat(int(dir.Fd()), name, n.UID, n.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	// The mode last: giving it away may take bits. Not by name, which may be a link by now.
	f, err := openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer f.Close()
	return chmodOpened(f, n.Mode)
}

// chmodOpened sets the mode of what was opened without leave to read it.
func chmodOpened(f *os.File, mode os.FileMode) error {
	err := unix.Fchmodat(int(f.Fd()), "", uint32(mode.Perm()), unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) { // before Linux 6.6, and what x/sys makes of it
		err = unix.Chmod(descriptor(f), uint32(mode.Perm()))
	}
	return err
}
