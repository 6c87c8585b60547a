package lxc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dropFaked takes out of active what is no container: whoever may run programs on the host may
// make a socket of that name, and would get what a user types into pct enter. Kernels before 5.3
// do not tell the owners of sockets; they are believed.
func dropFaked(active map[string]bool, lxcpath string) {
	if len(active) == 0 {
		return
	}
	owners, err := listeners()
	if err != nil {
		return
	}
	for name := range active {
		if uid, ok := owners[socketName(lxcpath, name)]; ok && uid != 0 && int(uid) != os.Geteuid() {
			delete(active, name)
		}
	}
}

// The kernel's words for listing sockets of the family unix: linux/unix_diag.h.
const (
	showName  = 1 << 0
	showUID   = 1 << 6
	attrName  = 0
	attrUID   = 7
	listen    = 10 // the state of a socket that waits for callers
	headSize  = 16 // of struct unix_diag_msg
	replySize = 64 << 10
)

// listeners returns who has made the sockets in the abstract namespace that wait for callers.
func listeners() (map[string]uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, err
	}
	if err := unix.Sendto(fd, listenersRequest(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	owners, buf := map[string]uint32{}, make([]byte, replySize)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if done, err := addListeners(buf[:n], owners); err != nil || done {
			return owners, err
		}
	}
}

func listenersRequest() []byte {
	request := binary.NativeEndian.AppendUint32(nil, unix.SizeofNlMsghdr+24)
	request = binary.NativeEndian.AppendUint16(request, unix.SOCK_DIAG_BY_FAMILY)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request = append(request, make([]byte, 8)...) // neither the request nor we have a number
	request = append(request, unix.AF_UNIX, 0, 0, 0)
	for _, word := range []uint32{1 << listen, 0, showName | showUID, 0, 0} {
		request = binary.NativeEndian.AppendUint32(request, word)
	}
	return request
}

// addListeners reads messages of the kernel, until one says that it was the last.
func addListeners(text []byte, owners map[string]uint32) (done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(text)
	if err != nil {
		return true, err
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return true, fmt.Errorf("list sockets: %w", unix.ENOTSUP)
		case unix.SOCK_DIAG_BY_FAMILY:
			addListener(m.Data, owners)
		}
	}
	return false, nil
}

// addListener reads what is said of one socket: attributes after a head.
func addListener(text []byte, owners map[string]uint32) {
	name, uid, known := "", uint32(0), false
	for rest := text[min(headSize, len(text)):]; len(rest) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			return
		}
		value := rest[unix.SizeofRtAttr:size]
		switch binary.NativeEndian.Uint16(rest[2:]) {
		case attrName:
			name = string(value)
		case attrUID:
			if known = len(value) >= 4; known {
				uid = binary.NativeEndian.Uint32(value)
			}
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	if abstract := len(name) > 1 && name[0] == 0; abstract && known {
		owners[name[1:]] = uid
	}
}
