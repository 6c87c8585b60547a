// Package hungfs is a file system for tests that answers or hangs as it is told: what
// a storage looks like whose server has died. It holds nothing but an empty folder.
package hungfs

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// FS is a mounted file system. It hangs from the beginning.
type FS struct {
	Dir string

	dev *os.File // /dev/fuse, where the kernel asks

	mu   sync.Mutex
	live bool     // answers
	kept [][]byte // requests that wait for an answer
}

// Mount mounts one as the kernel's table shall show it: from a device, with a type that
// begins with fuse. It skips the test where that is not possible.
func Mount(t testing.TB, device, fstype string) *FS {
	t.Helper()
	return MountAt(t, t.TempDir(), device, fstype)
}

// MountAt is [Mount] for a folder that is there.
func MountAt(t testing.TB, dir, device, fstype string) *FS {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs /dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount(device, dir, fstype, unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = unix.Close(fd)
		t.Skipf("needs the right to mount: %v", err)
	}
	f := &FS{Dir: dir, dev: os.NewFile(uintptr(fd), "/dev/fuse")}
	go f.serve()
	t.Cleanup(f.End)
	return f
}

// Wake lets it answer, also what it was asked before.
func (f *FS) Wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live = true
	for _, request := range f.kept {
		f.answer(request)
	}
	f.kept = nil
}

// Hang lets it answer nothing more.
func (f *FS) Hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live = false
}

// Die ends who answers, as when the client of a cluster file system crashes: what is
// mounted stays, and fails.
func (f *FS) Die() { _ = f.dev.Close() }

// End takes it away. Whatever waits for it fails.
func (f *FS) End() {
	f.Die()
	_ = unix.Unmount(f.Dir, unix.MNT_DETACH) // it may be gone already
}

// serve takes what the kernel asks.
func (f *FS) serve() {
	b := make([]byte, 1<<17)
	for {
		n, err := f.dev.Read(b)
		if err != nil {
			return
		}
		request := append([]byte(nil), b[:n]...)
		f.mu.Lock()
		if f.live {
			f.answer(request)
		} else {
			f.kept = append(f.kept, request)
		}
		f.mu.Unlock()
	}
}

// Requests of FUSE, as in linux/fuse.h.
const (
	opForget   = 2
	opGetattr  = 3
	opStatfs   = 17
	opInit     = 26
	opOpendir  = 27
	opReaddir  = 28
	opReleased = 29
)

// answer answers a request. Nothing can be made, found or changed.
func (f *FS) answer(request []byte) {
	le := binary.LittleEndian
	if len(request) < 40 {
		return
	}
	var errno int32
	var body []byte
	switch op := le.Uint32(request[4:]); op {
	case opForget:
		return
	case opInit:
		body = make([]byte, 64)
		le.PutUint32(body[0:], 7)
		le.PutUint32(body[4:], 31)
		le.PutUint32(body[20:], 1<<16) // the most that is written at once
	case opGetattr:
		body = make([]byte, 16+88)
		le.PutUint64(body[16:], 1)          // inode
		le.PutUint32(body[16+60:], 0o40755) // a folder
		le.PutUint32(body[16+64:], 2)
	case opStatfs:
		body = make([]byte, 80)
		le.PutUint64(body[0:], 1000) // blocks, free, available
		le.PutUint64(body[8:], 600)
		le.PutUint64(body[16:], 500)
		le.PutUint32(body[40:], 4096)
		le.PutUint32(body[44:], 255)
		le.PutUint32(body[48:], 4096)
	case opOpendir:
		body = make([]byte, 16)
	case opReaddir, opReleased:
	default:
		errno = -int32(unix.ENOSYS)
		if op == 1 { // lookup
			errno = -int32(unix.ENOENT)
		}
	}
	reply := make([]byte, 16, 16+len(body))
	le.PutUint32(reply[0:], uint32(16+len(body)))
	le.PutUint32(reply[4:], uint32(errno))
	copy(reply[8:16], request[8:16])
	_, _ = f.dev.Write(append(reply, body...))
}
