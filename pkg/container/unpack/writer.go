package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A writer makes the members of tar archives in the root folder of its thread.
type writer struct {
	ctx    context.Context //nolint:containedctx // of one unpacking
	ids    idmap.Map
	ignore bool

	// layer is set while a layer of an image is unpacked: what was made of it so far, since
	// whiteouts remove what is of layers below.
	layer map[string]bool

	result Result
	folder []folder // whose attributes are set when all is in them
	buffer []byte
	told   map[string]bool // what was warned of once
	nodes  []string        // some device nodes that were left out
}

// A folder is a directory with what it is to have in the end.
type folder struct {
	path   string
	header *tar.Header
}

// errOutside is the error of a member whose name leads out of the root.
var errOutside = errors.New("its name leads out of the root")

// archive makes all members of a tar archive.
func (w *writer) archive(in *stream) error {
	r := tar.NewReader(in)
	for {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		before := in.n
		header, err := r.Next()
		if err == io.EOF {
			err = ended(in, before)
			if err == nil {
				break
			}
		}
		if err != nil {
			if err = damaged(err); !w.passOver(err) {
				return err
			}
			break
		}
		if err := w.pass(r, in, header); err != nil {
			if !w.passOver(err) {
				return err
			}
			break
		}
	}
	w.result.Bytes += in.n
	return w.finish()
}

// pass makes one member and reads what is left of it.
func (w *writer) pass(r *tar.Reader, in *stream, header *tar.Header) error {
	w.result.Members++
	err := w.member(r, in, header)
	if in.err != nil {
		return damaged(in.err) // not the member is at fault
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errEarly
	}
	if err != nil {
		if err = fmt.Errorf("member '%s': %w", header.Name, err); !w.passOver(err) {
			return err
		}
	}
	_, err = io.Copy(io.Discard, r)
	if err != nil {
		err = damaged(err)
	}
	return err
}

// ended checks that an archive ends as archives do, with a block of zeros at least, then
// reads what follows up to the end, where a checksum may tell of damage. Before is how much
// was read up to the last member.
func ended(in *stream, before int64) error {
	const block = 512
	if in.n-(before+block-1)/block*block < block {
		return io.ErrUnexpectedEOF
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// damaged says of an error of reading that the archive is at fault, unless it says so.
func damaged(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errEarly
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errDamaged):
		return err
	}
	if _, ok := errors.AsType[*os.PathError](err); ok { // reading the file failed
		return err
	}
	if _, ok := errors.AsType[*run.Error](err); ok { // the program did not run
		return err
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// passOver tells of an error that is to be ignored.
func (w *writer) passOver(err error) bool {
	if !w.ignore || w.ctx.Err() != nil {
		return false
	}
	w.result.Failed++
	api.Warnf(w.ctx, "%v", err)
	return true
}

// warnOnce tells of something that may come up with every member.
func (w *writer) warnOnce(key, format string, args ...any) {
	if w.told[key] {
		return
	}
	if w.told == nil {
		w.told = map[string]bool{}
	}
	w.told[key] = true
	api.Warnf(w.ctx, format, args...)
}

// summary tells what was left out.
func (w *writer) summary() {
	if w.result.LeftOut == 0 {
		return
	}
	names := strings.Join(w.nodes, ", ")
	if w.result.LeftOut > len(w.nodes) {
		names += ", …"
	}
	api.Warnf(w.ctx, "%d device nodes left out, which an unprivileged container cannot have: %s", w.result.LeftOut, names)
}

// place returns where in the root a member goes. Names are taken as below the root,
// however they begin.
func place(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errOutside
		}
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("its name has a zero byte")
	}
	return path.Clean("/" + name), nil
}

// inDev tells whether a path is one of the device files, which the container gets anew.
func inDev(at string) bool { return strings.HasPrefix(at, "/dev/") }

// member makes one member.
func (w *writer) member(r io.Reader, in *stream, h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	at, err := place(h.Name)
	if err != nil {
		return err
	}
	if inDev(at) {
		return nil
	}
	if w.layer != nil {
		if done, err := w.whiteout(at); done || err != nil {
			return err
		}
	}
	if at == "/" && h.Typeflag != tar.TypeDir {
		return errors.New("it would replace the root")
	}
	if err := w.make(r, in, at, h); err != nil {
		return err
	}
	if w.layer != nil {
		w.kept(at)
	}
	return nil
}

func (w *writer) make(r io.Reader, in *stream, at string, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return w.mkdir(at, h)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return w.file(r, in, at, h)
	case tar.TypeSymlink:
		return w.symlink(at, h)
	case tar.TypeLink:
		return w.link(at, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return w.node(at, h)
	}
	return fmt.Errorf("it is of a type that is not known (%q)", h.Typeflag)
}

// try runs make, which creates something at a path; where its folder is missing that is
// made, and what is in its way goes.
func (w *writer) try(at string, create func() error) error {
	err := create()
	if errors.Is(err, syscall.ENOENT) {
		if err := w.parents(path.Dir(at)); err != nil {
			return err
		}
		err = create()
	}
	if errors.Is(err, syscall.EEXIST) {
		if err := os.RemoveAll(at); err != nil {
			return err
		}
		err = create()
	}
	return err
}

// parents makes the folders that no member made.
func (w *writer) parents(at string) error {
	if at == "/" {
		return nil
	}
	err := unix.Mkdir(at, 0o755)
	switch {
	case errors.Is(err, syscall.ENOENT):
		if err := w.parents(path.Dir(at)); err != nil {
			return err
		}
		err = unix.Mkdir(at, 0o755)
	case errors.Is(err, syscall.EEXIST):
		var st unix.Stat_t
		if unix.Stat(at, &st) != nil {
			return fmt.Errorf("%s is a link to nowhere", at)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("folder %s: %w", at, err)
	}
	if w.layer != nil {
		w.kept(at)
	}
	return nil
}

// owner returns whom a member belongs to at the host.
func (w *writer) owner(h *tar.Header) (uid, gid int, err error) {
	u, err := w.hostID(idmap.User, h.Uid)
	if err != nil {
		return 0, 0, err
	}
	g, err := w.hostID(idmap.Group, h.Gid)
	return int(u), int(g), err
}

func (w *writer) hostID(kind idmap.Kind, id int) (uint32, error) {
	what := "user"
	if kind == idmap.Group {
		what = "group"
	}
	if id < 0 || int64(id) >= 1<<32-1 {
		return 0, fmt.Errorf("%s %d is none", what, id)
	}
	host, ok := w.ids.ToHost(kind, uint32(id))
	if !ok {
		return 0, fmt.Errorf("%s %d is not in the map of the container", what, id)
	}
	return host, nil
}

// mode is what chmod takes: permissions, and the bits for set-user-id and so on.
func mode(h *tar.Header) uint32 { return uint32(h.Mode) & 0o7777 }

func (w *writer) mkdir(at string, h *tar.Header) error {
	if at != "/" {
		err := w.try(at, func() error {
			err := unix.Mkdir(at, 0o700)
			var st unix.Stat_t
			if errors.Is(err, syscall.EEXIST) && unix.Lstat(at, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	uid, gid, err := w.owner(h)
	if err != nil {
		return err
	}
	if err := unix.Lchown(at, uid, gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	w.folder = append(w.folder, folder{at, h})
	return nil
}

// finish gives folders their modes and times, now that all is in them.
func (w *writer) finish() error {
	for _, f := range w.folder {
		if err := w.finishFolder(f); err != nil {
			if err = fmt.Errorf("folder '%s': %w", f.path, err); !w.passOver(err) {
				return err
			}
		}
	}
	w.folder = nil
	return nil
}

func (w *writer) finishFolder(f folder) error {
	fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ELOOP) {
		return nil // another member came in its place
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, mode(f.header)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := w.attributes(fd, f.header); err != nil {
		return err
	}
	return setTimes(fd, f.header)
}
