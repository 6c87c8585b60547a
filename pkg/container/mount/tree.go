package mount

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A tree is a point made ready: where the kernel can, a mount with all its options that is
// in no namespace yet, and goes by itself when it never gets into one.
type tree struct {
	point   Point
	source  *source
	mount   *os.File // nil where the kernel is too old
	options bool     // those of the mount are in force
}

// Close closes what is open; what has been put into a namespace stays there.
func (t *tree) Close() {
	if t.mount != nil {
		t.mount.Close()
	}
	t.source.Close()
}

// root returns the folder that the mount shows, nil where that is not known before it is mounted.
func (t *tree) root() *os.File {
	if t.mount != nil {
		return t.mount
	}
	return t.source.dir
}

// prepare opens what a point shows and makes a mount of it.
func (h Host) prepare(ctx context.Context, p Point, ids IDs) (*tree, error) {
	s, err := h.openSource(ctx, p)
	if err != nil {
		return nil, err
	}
	t := &tree{point: p, source: s}
	if err := h.detach(t, ids); err != nil {
		t.Close()
		return nil, err
	}
	if p.Quota && p.folder() {
		what := "bind mounts"
		if p.Kind == Volume {
			what = "bind mounted subvolumes"
		}
		h.warnf("cannot enable quota control for %s", what)
	}
	return t, nil
}

// A View is a point that is mounted in no tree: only who has its root sees it, and programs
// that get it as a descriptor, at /proc/self/fd/N. It is gone when it is closed, or when we are.
type View struct {
	Root   *os.File
	Device string // the block device that has the file system, "" for folders
	tree   *tree
}

// Close gives the view up. The file system is unmounted when nobody uses it any more.
func (v *View) Close() { v.tree.Close() }

// Open mounts a point for us alone, which needs Linux 5.12.
func (h Host) Open(ctx context.Context, p Point, ids IDs) (*View, error) {
	t, err := h.prepare(ctx, p, ids)
	if err == nil && (t.mount == nil || !t.options) {
		t.Close()
		err = errors.New("mounting for ourselves alone needs Linux 5.12 or later")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name(), err)
	}
	return &View{Root: t.mount, Device: t.source.device, tree: t}, nil
}

// detach makes the mount of a tree, unless the kernel cannot.
func (h Host) detach(t *tree, ids IDs) error {
	mapped := !t.point.IDMap.Zero() && len(ids) > 0
	if !h.Legacy {
		err := t.make()
		if err != nil && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	if !mapped {
		return nil
	}
	if t.mount == nil {
		return errors.New("idmap: mounts with a map of owners need Linux 5.12 or later")
	}
	return t.point.IDMap.apply(t.mount, ids)
}

func (t *tree) make() error {
	var err error
	if !t.point.folder() {
		t.mount, err = t.point.openFilesystem(t.source)
		t.options = err == nil
		return err
	}
	fd, err := unix.OpenTree(int(t.source.dir.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone mount of %s: %w", t.point.Source, err)
	}
	t.mount = os.NewFile(uintptr(fd), t.point.Source)
	err = setAttributes(t.mount, t.point.attributes())
	if errors.Is(err, unix.ENOSYS) {
		return nil // before Linux 5.12: once it is mounted
	}
	t.options = err == nil
	return err
}

// setAttributes gives a copy of a mount its options. What is mounted below the copy must not
// show up below the original: containers mount.
func setAttributes(mount *os.File, set uint64) error {
	attr := unix.MountAttr{Attr_set: set, Propagation: unix.MS_SLAVE}
	if set&unix.MOUNT_ATTR__ATIME != 0 {
		attr.Attr_clr = unix.MOUNT_ATTR__ATIME
	}
	err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	if err != nil {
		return fmt.Errorf("set mount options: %w", err)
	}
	return nil
}

// onto puts the tree onto an opened folder.
func (t *tree) onto(at place) error {
	if t.mount != nil {
		err := unix.MoveMount(int(t.mount.Fd()), "", int(at.dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		if err != nil {
			return fmt.Errorf("mount on %s: %w", at.shown, err)
		}
		return nil
	}
	if !t.point.folder() {
		return t.point.legacyFilesystem(t.source, descriptor(at.dir))
	}
	err := unix.Mount(descriptor(t.source.dir), descriptor(at.dir), "", unix.MS_BIND, "")
	if err != nil {
		return fmt.Errorf("bind %s on %s: %w", t.point.Source, at.shown, err)
	}
	return nil
}

// finish does with mount(2) what could not be done before the tree was mounted.
func (t *tree) finish(at place) error {
	if t.options || !t.point.folder() {
		return nil
	}
	top, err := openDir(at.parent, at.name)
	if err != nil {
		return fmt.Errorf("failed to open mount point: %w", err)
	}
	defer top.Close()
	if err := unix.Mount("", descriptor(top), "", unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mount on %s: %w", at.shown, err)
	}
	flags := t.point.flags()
	if flags == 0 {
		return nil
	}
	// What the original has, the copy keeps.
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(top.Fd()), &fs); err != nil {
		return err
	}
	const same = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME
	flags |= uintptr(fs.Flags) & same
	if err := unix.Mount("", descriptor(top), "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
		return fmt.Errorf("set mount options of %s: %w", at.shown, err)
	}
	return nil
}

// descriptor is a path that leads to an opened file, whatever its own path leads to.
func descriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// verify makes sure that the folder a place names is what was mounted there.
func (t *tree) verify(at place, readOnly bool) error {
	top, err := openDir(at.parent, at.name)
	if err != nil {
		return fmt.Errorf("failed to open mount point: %w", err)
	}
	defer top.Close()
	if readOnly {
		err := unix.Faccessat(int(top.Fd()), ".", unix.W_OK, 0)
		if err == nil {
			return errors.New("failed to mark bind mount read only")
		}
		if !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("read-only check failed: %w", err)
		}
	}
	if root := t.root(); root != nil {
		if same, err := sameFolder(top, root); err != nil || !same {
			return errors.Join(err, ErrChanged)
		}
		return nil
	}
	// The file system is there when the folder is no longer the one below.
	if same, err := sameFolder(top, at.dir); err != nil || same {
		return errors.Join(err, ErrChanged)
	}
	return nil
}

// keepAttributes gives the root of a volume the owner and mode of the folder below it.
func (t *tree) keepAttributes(below, root *os.File) error {
	if !t.point.KeepAttrs || t.point.Kind != Volume || t.point.readOnly() {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(below.Fd()), &st); err != nil {
		return err
	}
	dir, err := openAt(root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Fchown(int(dir.Fd()), int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("keep owner of %s: %w", t.point.Target, err)
	}
	if err := unix.Fchmod(int(dir.Fd()), st.Mode&0o7777); err != nil {
		return fmt.Errorf("keep mode of %s: %w", t.point.Target, err)
	}
	return nil
}

// attach mounts the tree on a place and makes sure that it is there, else that it is not.
func (t *tree) attach(at place) error {
	err := t.source.unchanged()
	if err == nil {
		err = t.attachOpened(at)
	}
	if errors.Is(err, ErrChanged) {
		return fmt.Errorf("detected mount path change at: %s: %w", t.point.Source, err)
	}
	return err
}

func (t *tree) attachOpened(at place) error {
	if t.mount != nil {
		if err := t.keepAttributes(at.dir, t.mount); err != nil {
			return err
		}
	}
	if err := t.onto(at); err != nil {
		return err
	}
	err := t.finish(at)
	if err == nil {
		err = t.verify(at, t.point.readOnly())
	}
	if err == nil && t.mount == nil {
		err = t.legacyAttributes(at)
	}
	if err == nil {
		return nil
	}
	if undo := unix.Unmount(below(at), unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); undo != nil && !errors.Is(undo, unix.EINVAL) {
		err = errors.Join(err, fmt.Errorf("unmount %s: %w", at.shown, undo))
	}
	return err
}

func (t *tree) legacyAttributes(at place) error {
	top, err := openDir(at.parent, at.name)
	if err != nil {
		return err
	}
	defer top.Close()
	return t.keepAttributes(at.dir, top)
}

// below is a path to a place that only its last component can change.
func below(at place) string { return descriptor(at.parent) + "/" + at.name }
