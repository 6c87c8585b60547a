// Package transfer copies files into running containers and out of them. The container
// may change its files meanwhile, or put links where files were: see package rootfs.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A File says what to copy, and what the copy shall have. Paths of the container are
// taken from its root.
type File struct {
	VM           id.VM
	Source, Dest string
	Perms        string // octal, or hexadecimal after 0x; empty for those of the source
	User, Group  string // names or numbers of where the copy goes; empty for root
}

// A Service does it for the containers of a node.
type Service struct{ *ct.Host }

// Push copies a file of the host into the container.
func (s *Service) Push(ctx context.Context, f File) error {
	g, err := s.open(ctx, f.VM, "can only push files to a running VM")
	if err != nil {
		return err
	}
	defer g.root.Close()
	source, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a folder: only single files can be pushed", f.Source)
	}
	attr, err := g.attr(f, info)
	if err != nil {
		return err
	}
	dest := f.Dest
	if to, err := g.root.Stat(dest); err == nil && to.IsDir() {
		dest = path.Join(dest, filepath.Base(f.Source))
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("copy %s to %s in CT %d", f.Source, dest, f.VM)
		return nil
	}
	if _, err := g.root.WriteFrom(dest, &reader{ctx, source}, attr); err != nil {
		return fmt.Errorf("push %s to CT %d: %w", f.Source, f.VM, err)
	}
	return nil
}

// Pull copies a file of the container to the host. The file that was there stays until the
// new one is whole; a device or a pipe is written to.
func (s *Service) Pull(ctx context.Context, f File) error {
	g, err := s.open(ctx, f.VM, "can only pull files from a running VM")
	if err != nil {
		return err
	}
	defer g.root.Close()
	source, err := g.root.OpenFile(f.Source, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("pull from CT %d: %w", f.VM, err)
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	dest := f.Dest
	there, err := os.Stat(dest)
	if err == nil && there.IsDir() {
		dest = filepath.Join(dest, path.Base(f.Source))
		there, err = os.Stat(dest)
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("copy %s of CT %d to %s", f.Source, f.VM, dest)
		return nil
	}
	if err == nil && !there.Mode().IsRegular() {
		err = pour(ctx, source, dest)
	} else {
		err = replace(ctx, source, dest, f, info)
	}
	if err != nil {
		return fmt.Errorf("pull %s from CT %d: %w", f.Source, f.VM, err)
	}
	return nil
}

// pour writes into what is there and no file.
func pour(ctx context.Context, source io.Reader, dest string) error {
	out, err := os.OpenFile(dest, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, &reader{ctx, source})
	return errors.Join(err, out.Close())
}

// replace puts a new file in the place of one that may be there.
func replace(ctx context.Context, source io.Reader, dest string, f File, info fs.FileInfo) error {
	mode, err := permissions(f.Perms, info)
	if err != nil {
		return err
	}
	uid, gid, err := hostOwner(f)
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, &reader{ctx, source})
	if err == nil {
		err = out.Chown(uid, gid)
	}
	if err == nil {
		err = out.Chmod(mode) // after the owner, which takes setuid bits away
	}
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), dest)
}

// opened is the root of a running container.
type opened struct {
	root *rootfs.Root
	ids  idmap.Map
}

// open opens the root of a container, which must run: else stopped is the error.
func (s *Service) open(ctx context.Context, vmid id.VM, stopped string) (*opened, error) {
	running, err := s.Running(ctx, vmid)
	if err != nil {
		return nil, err
	}
	if !running {
		return nil, errors.New(stopped)
	}
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return nil, err
	}
	c := container.Typed(doc.Values)
	var lines []string
	for _, line := range container.RawLines(doc.Values) {
		if idmap.IsKey(line.Key) {
			lines = append(lines, line.Value)
		}
	}
	ids, err := idmap.Of(lines, c.Unprivileged != nil && *c.Unprivileged)
	if err != nil {
		return nil, err
	}
	uid, gid, err := ids.Root()
	if err != nil {
		return nil, err
	}
	pid, err := s.LXC.InitPID(ctx, vmid.String())
	if err != nil {
		return nil, err
	}
	root, err := rootfs.Open(filepath.Join("/proc", strconv.Itoa(pid), "root"), rootfs.Owner{UID: int(uid), GID: int(gid)})
	if err != nil {
		return nil, fmt.Errorf("root of CT %d: %w", vmid, err)
	}
	return &opened{root, ids}, nil
}

// attr returns what a pushed file shall have.
func (g *opened) attr(f File, info fs.FileInfo) (rootfs.Attr, error) {
	mode, err := permissions(f.Perms, info)
	if err != nil {
		return rootfs.Attr{}, err
	}
	uid, err := g.owner("user", "/etc/passwd", f.User, idmap.User)
	if err != nil {
		return rootfs.Attr{}, err
	}
	gid, err := g.owner("group", "/etc/group", f.Group, idmap.Group)
	if err != nil {
		return rootfs.Attr{}, err
	}
	return rootfs.Attr{Mode: &mode, UID: &uid, GID: &gid}, nil
}

// maxAccounts is how large the list of users of a container may be, in bytes.
const maxAccounts = 4 << 20

// owner returns the number on the disk of a user or group of the container.
func (g *opened) owner(what, list, name string, kind idmap.Kind) (int, error) {
	number := uint32(0)
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		number = uint32(n)
	} else if name != "" {
		text, err := g.root.ReadFile(list, maxAccounts)
		if err != nil {
			return 0, fmt.Errorf("%s '%s': %w", what, name, err)
		}
		found, ok := account(string(text), name)
		if !ok {
			return 0, fmt.Errorf("%s '%s' does not exist in the container", what, name)
		}
		number = found
	}
	if g.ids.Privileged() {
		return int(number), nil
	}
	mapped, ok := g.ids.ToHost(kind, number)
	if !ok {
		return 0, fmt.Errorf("%s %d is not mapped into the container", what, number)
	}
	return int(mapped), nil
}

// account finds the number of a name in the text of a passwd or group file.
func account(text, name string) (uint32, bool) {
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 3 || fields[0] != name {
			continue
		}
		n, err := strconv.ParseUint(fields[2], 10, 32)
		return uint32(n), err == nil
	}
	return 0, false
}

// hostOwner returns whom a pulled file shall belong to.
func hostOwner(f File) (uid, gid int, err error) {
	if uid, err = hostAccount("user", "/etc/passwd", f.User); err != nil {
		return 0, 0, err
	}
	gid, err = hostAccount("group", "/etc/group", f.Group)
	return uid, gid, err
}

func hostAccount(what, list, name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil || name == "" {
		return int(n), nil
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return 0, err
	}
	number, ok := account(string(text), name)
	if !ok {
		return 0, fmt.Errorf("%s '%s' does not exist", what, name)
	}
	return int(number), nil
}

// permissions reads the option perms, where it is given. A pipe or a device has none to
// keep.
func permissions(text string, info fs.FileInfo) (fs.FileMode, error) {
	if text == "" {
		if !info.Mode().IsRegular() {
			return 0o644, nil
		}
		return info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky), nil
	}
	digits, base := text, 8
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		digits, base = hex, 16
	}
	bits, err := strconv.ParseUint(digits, base, 32)
	if err != nil || bits > 0o7777 {
		return 0, fmt.Errorf("perms '%s' is neither octal nor, after 0x, hexadecimal, up to 07777", text)
	}
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode, nil
}

// reader ends with its context.
type reader struct {
	ctx  context.Context
	from io.Reader
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
