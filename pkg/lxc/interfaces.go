package lxc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// An Interface is a network device as a container sees it.
type Interface struct {
	Name      string
	MAC       net.HardwareAddr
	MTU       int
	Up        bool
	Addresses []netip.Prefix
}

// Interfaces lists the network devices of the namespace that a process is in, such as the init
// of a container.
func Interfaces(pid int) ([]Interface, error) {
	type answer struct {
		list []Interface
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		// The thread ends with this function, as it stays locked: nothing else ever runs in
		// the namespace that it enters.
		runtime.LockOSThread()
		list, err := interfacesOf(pid)
		done <- answer{list, err}
	}()
	a := <-done
	return a.list, a.err
}

func interfacesOf(pid int) ([]Interface, error) {
	space, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer space.Close()
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("%s: %w", space.Name(), err)
	}
	devices, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []Interface
	var errs []error
	for _, d := range devices {
		i := Interface{Name: d.Name, MAC: d.HardwareAddr, MTU: d.MTU, Up: d.Flags&net.FlagUp != 0}
		addresses, err := d.Addrs()
		errs = append(errs, err)
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				i.Addresses = append(i.Addresses, prefix)
			}
		}
		list = append(list, i)
	}
	return list, errors.Join(errs...)
}
