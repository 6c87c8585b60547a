package hotplug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A wire is a network card of the running container that is being changed, with both ends at
// hand.
type wire struct {
	*machine
	device string     // the host's end
	host   *link.Host // where that is
	inside *link.Host // where the card is
	undo   *revert.List
}

// withWire calls fn with both ends of the card netN. What fn has done is taken back where it
// fails.
func (m *machine) withWire(ctx context.Context, n int, fn func(*wire) error) error {
	host, err := m.Net()
	if err != nil {
		return err
	}
	defer host.Close()
	inside, err := link.OpenIn(m.network)
	if err != nil {
		return err
	}
	defer inside.Close()
	w := &wire{machine: m, device: lxcconf.Device(m.vmid, n), host: host, inside: inside, undo: m.undoing(ctx)}
	defer w.undo.Fail()
	if err := fn(w); err != nil {
		return err
	}
	w.undo.Success()
	return nil
}

// setNet adds a network card or changes one.
func (m *machine) setNet(ctx context.Context, key string, n int, value string) error {
	next, err := parseNet(value)
	if err != nil {
		return err
	}
	var old *container.Net
	if text, set := m.doc.Values[key]; set {
		card, err := parseNet(text)
		if err != nil {
			return err
		}
		old = &card
	}
	return m.withWire(ctx, n, func(w *wire) error {
		if err := w.set(old, next); err != nil {
			return err
		}
		if old != nil && sameAddresses(*old, next) {
			return nil
		}
		return m.writeNetwork(ctx, m.with(key, value))
	})
}

func parseNet(value string) (card container.Net, err error) {
	if err := schema.Parse(value, &card); err != nil {
		return card, err
	}
	if card.Type != nil && *card.Type != "veth" {
		return card, fmt.Errorf("cannot update interface of type %s", *card.Type)
	}
	return card, nil
}

// set makes the card what it is to be.
func (w *wire) set(old *container.Net, next container.Net) error {
	if old == nil {
		if err := w.add(next); err != nil {
			return err
		}
		return w.address(container.Net{}, next)
	}
	if old.Name != next.Name || !same(old.HWAddr, next.HWAddr) {
		if err := w.replace(*old, next); err != nil {
			return err
		}
		return w.address(container.Net{}, next)
	}
	if err := w.change(*old, next); err != nil {
		return err
	}
	return w.address(*old, next)
}

// check tells whether the container can have a card, and returns its MTU.
func (w *wire) check(card container.Net) (mtu int, err error) {
	if card.MTU != nil {
		mtu = *card.MTU
	}
	if card.Bridge == nil {
		return mtu, nil
	}
	bridge, err := w.host.BridgeNamed(*card.Bridge)
	if err == nil && mtu > bridge.MTU {
		err = fmt.Errorf("MTU '%d' is bigger than that of bridge '%s', %d", mtu, bridge.Name, bridge.MTU)
	}
	if mtu == 0 {
		mtu = bridge.MTU
	}
	return mtu, err
}

// add makes a card that is not there yet.
func (w *wire) add(card container.Net) error {
	mtu, err := w.check(card)
	if err != nil {
		return err
	}
	v := link.Veth{Name: w.device, Card: card.Name, MTU: mtu}
	if card.HWAddr != nil {
		if v.MAC, err = net.ParseMAC(*card.HWAddr); err != nil {
			return err
		}
	}
	if there, err := w.inside.Exists(card.Name); err != nil || there {
		return errors.Join(err, fmt.Errorf("the container has an interface '%s' already", card.Name))
	}
	if err := w.remove(); err != nil { // of a card that somebody has taken away inside
		return err
	}
	if err := w.host.CreateVeth(v, w.network); err != nil {
		return err
	}
	w.undo.Add("remove "+w.device, func(context.Context) error { return w.remove() })
	if err := power.Plug(w.host, w.device, card); err != nil {
		return err
	}
	return w.inside.SetUp(card.Name, true)
}

// remove takes the card away, with all that was made for it.
func (w *wire) remove() error {
	return errors.Join(w.host.Leave(w.device), w.host.Delete(w.device))
}

// replace puts a card in the place of another one, which comes back where that fails.
func (w *wire) replace(old, next container.Net) error {
	if _, err := w.check(next); err != nil {
		return err
	}
	if err := w.remove(); err != nil {
		return err
	}
	w.undo.Add("bring back "+w.device, func(ctx context.Context) error {
		again := *w
		again.undo = w.undoing(ctx)
		defer again.undo.Fail()
		err := again.add(old)
		if err == nil {
			err = again.address(container.Net{}, old)
		}
		if err == nil {
			again.undo.Success()
		}
		return err
	})
	return w.add(next)
}

// change changes where the cable of a card goes, how fast it is, and whether it is plugged in.
func (w *wire) change(old, next container.Net) error {
	mtu, err := w.check(next)
	if err != nil {
		return err
	}
	switch {
	case !sameCable(old, next):
		w.undo.Add("bring back the bridge of "+w.device, func(context.Context) error { return w.plug(old) })
		if err := w.plug(next); err != nil {
			return err
		}
	case !same(old.Rate, next.Rate):
		w.undo.Add("bring back the rate of "+w.device, func(context.Context) error { return w.limit(old) })
		if err := w.limit(next); err != nil {
			return err
		}
	}
	if is(old.LinkDown) != is(next.LinkDown) {
		w.undo.Add("bring back the link of "+w.device, func(context.Context) error { return w.host.SetUp(w.device, !is(old.LinkDown)) })
		if err := w.host.SetUp(w.device, !is(next.LinkDown)); err != nil {
			return err
		}
	}
	if mtu == 0 || same(old.MTU, next.MTU) && same(old.Bridge, next.Bridge) {
		return nil
	}
	card, err := w.inside.Device(next.Name)
	if err != nil || card.MTU == mtu {
		return err
	}
	w.undo.Add("bring back the MTU of "+next.Name, func(context.Context) error { return w.inside.SetMTU(next.Name, card.MTU) })
	return w.inside.SetMTU(next.Name, mtu)
}

// plug joins the host's end as the card has it.
func (w *wire) plug(card container.Net) error {
	if card.Bridge == nil {
		return w.host.Leave(w.device)
	}
	return power.Plug(w.host, w.device, card)
}

// limit sets how fast the card is.
func (w *wire) limit(card container.Net) error {
	return w.host.Limit(w.device, power.RateOf(card))
}

// removeNet takes a network card away. What the files of the container say of it stays, as with
// a card that goes while the container is off.
func (m *machine) removeNet(ctx context.Context, n int) error {
	return m.withWire(ctx, n, func(w *wire) error { return w.remove() })
}

// sameCable tells whether the host's end is joined in the same way.
func sameCable(a, b container.Net) bool {
	return same(a.Bridge, b.Bridge) && same(a.Tag, b.Tag) && same(a.Trunks, b.Trunks) && is(a.Firewall) == is(b.Firewall)
}

// sameAddresses tells whether the container's files say the same of both.
func sameAddresses(a, b container.Net) bool {
	return a.Name == b.Name && same(a.IP, b.IP) && same(a.Gateway, b.Gateway) && same(a.IP6, b.IP6) &&
		same(a.Gateway6, b.Gateway6) && is(a.HostManaged) == is(b.HostManaged)
}

func same[T any](a, b *T) bool { return reflect.DeepEqual(a, b) }
