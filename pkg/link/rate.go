package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	burst = 1 << 20
	// longestBurst keeps the burst of a very slow limit within what the kernel
	// can count, which is about 270 seconds.
	longestBurst = 200
	// limitPriority is that of the filter on what a guest sends, as upstream has it.
	limitPriority = 50
)

// Limit lets a guest send and receive at most so many bytes a second through its
// device; 0 takes the limit away. What goes to the guest is delayed. What comes
// from it is dropped beyond the limit, or, by kernels without a policer, delayed.
func (h *Host) Limit(device string, rate uint64) error {
	l, err := h.find(device)
	if err != nil {
		return err
	}
	if err := h.deleteLimits(device); err != nil || rate == 0 {
		return err
	}
	if err := h.limit(l, rate); err != nil {
		return errors.Join(fmt.Errorf("limit rate of %s: %w", device, err), h.deleteLimits(device))
	}
	return nil
}

func (h *Host) limit(l netlink.Link, rate uint64) error {
	if err := h.delay(l, rate); err != nil {
		return err
	}
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	if err := h.netlink.QdiscAdd(ingress); err != nil {
		return wrap(err, "add ingress queue")
	}
	err := h.police(l, rate)
	if errors.Is(err, ErrUnsupported) {
		err = h.redirect(l, rate)
	}
	return err
}

// delay limits what a device sends: for a tap, what goes to the guest.
func (h *Host) delay(l netlink.Link, rate uint64) error {
	size := burstOf(rate)
	return wrap(h.netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate,
		Buffer:     netlink.Xmittime(rate, size),
		Limit:      uint32(min(rate/10+uint64(size), 1<<31)), // 100 ms
	}), "add token bucket")
}

func burstOf(rate uint64) uint32 { return uint32(min(burst, rate*longestBurst)) }

// police drops what a device receives beyond the rate.
func (h *Host) police(l netlink.Link, rate uint64) error {
	if rate >= 1<<32 {
		return fmt.Errorf("police at %d bytes a second: %w", rate, ErrUnsupported)
	}
	p := netlink.NewPoliceAction()
	p.Rate, p.Burst, p.Mtu = uint32(rate), burstOf(rate), 64<<10
	p.ExceedAction = netlink.TC_POLICE_SHOT
	err := h.netlink.FilterAdd(&netlink.U32{FilterAttrs: everything(l), Police: p})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		// These two are how a kernel without the policer answers, too.
		return fmt.Errorf("add policer: %w", ErrUnsupported)
	}
	return wrap(err, "add policer")
}

// redirect lets all that a device receives pass through a device of its own,
// where it can be delayed.
func (h *Host) redirect(l netlink.Link, rate uint64) error {
	name, ok := limiter(l.Attrs().Name)
	if !ok {
		return fmt.Errorf("limit what it receives: %w", ErrUnsupported)
	}
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, l.Attrs().MTU
	if err := h.netlink.LinkAdd(&netlink.Ifb{LinkAttrs: a}); err != nil {
		return wrap(err, "create %s", name)
	}
	noIPv6(name)
	ifb, err := h.find(name)
	if err != nil {
		return err
	}
	if err := h.netlink.LinkSetUp(ifb); err != nil {
		return wrap(err, "set %s up", name)
	}
	if err := h.delay(ifb, rate); err != nil {
		return err
	}
	return wrap(h.netlink.FilterAdd(&netlink.U32{
		FilterAttrs: everything(l),
		Actions:     []netlink.Action{netlink.NewMirredAction(ifb.Attrs().Index)},
	}), "redirect to %s", name)
}

// everything is a filter for all that a device receives.
func everything(l netlink.Link) netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: l.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: limitPriority, Protocol: unix.ETH_P_ALL,
	}
}

// limiter names the device that delays what a guest's device receives.
func limiter(device string) (string, bool) {
	m := guestDevice.FindStringSubmatch(device)
	if m == nil {
		return "", false
	}
	return "ifb" + m[1] + "i" + m[2], true
}

// deleteLimits removes the limits of a device, or what they left when the
// device is gone.
func (h *Host) deleteLimits(device string) error {
	if name, ok := limiter(device); ok {
		if err := h.Delete(name); err != nil {
			return err
		}
	}
	l, err := h.find(device)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	queues, err := h.netlink.QdiscList(l)
	if err != nil {
		return wrap(err, "list queues of %s", device)
	}
	for _, q := range queues {
		a := q.Attrs()
		ours := q.Type() == "ingress" || q.Type() == "tbf" && a.Parent == netlink.HANDLE_ROOT
		if !ours {
			continue
		}
		if err := h.netlink.QdiscDel(q); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			return wrap(err, "remove limit of %s", device)
		}
	}
	return nil
}
