package hotplug

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// tapName is the network device of a card.
func (m *machine) tapName(key string) string {
	_, n, _ := schema.Member(key)
	return fmt.Sprintf("tap%di%d", m.vmid, n)
}

// removeNet takes a network card away.
func (m *machine) removeNet(ctx context.Context, key string) error {
	if err := m.need("network"); err != nil {
		return err
	}
	if err := m.remove(ctx, key); err != nil {
		return err
	}
	if err := m.drop(ctx, "netdev_del", "id", key); err != nil {
		return err
	}
	return m.Power.RemoveTap(m.vmid, m.tapName(key))
}

// addNet gives the VM a network card.
func (m *machine) addNet(ctx context.Context, key, value string) error {
	p, err := m.plug(key, value)
	if err != nil {
		return err
	}
	if err := m.give(ctx, p); err != nil {
		return err
	}
	if p.LinkDown {
		return m.setLink(ctx, key, false)
	}
	return nil
}

func (m *machine) setLink(ctx context.Context, key string, up bool) error {
	return m.Call(ctx, "set_link", map[string]any{"name": key, "up": up}, nil)
}

// setNet changes a network card: where its cable goes, or the card.
func (m *machine) setNet(ctx context.Context, key, value string) error {
	var old, next qemu.Net
	if err := schema.Parse(value, &next); err != nil {
		return err
	}
	text, has := m.doc.Values[key]
	if !has || !m.devices[key] {
		if err := m.need("network"); err != nil {
			return err
		}
		return m.addNet(ctx, key, value)
	}
	if err := schema.Parse(text, &old); err != nil {
		return err
	}
	if !sameCard(old, next) {
		if err := m.mayHave(key, value, next); err != nil {
			return err
		}
		if err := m.removeNet(ctx, key); err != nil {
			return err
		}
		delete(m.doc.Values, key) // whatever comes now, the old one is gone
		return m.addNet(ctx, key, value)
	}
	return m.setCable(ctx, key, old, next)
}

// mayHave tells whether the VM can have a card at all, before it loses the one it has.
func (m *machine) mayHave(key, value string, card qemu.Net) error {
	if card.Bridge != nil && m.host.BridgeMTU != nil {
		if _, err := m.host.BridgeMTU(*card.Bridge); err != nil {
			return fmt.Errorf("netdev %s: %w", key, err)
		}
	}
	_, err := m.plug(key, value)
	return err
}

// sameCard tells whether the guest sees the same card, wired in the same way.
func sameCard(a, b qemu.Net) bool {
	return a.Model == b.Model && same(a.MAC, b.MAC) && same(a.Queues, b.Queues) && same(a.MTU, b.MTU) &&
		same(a.HostTunnel, b.HostTunnel) && (a.Bridge == nil) == (b.Bridge == nil)
}

func same[T any](a, b *T) bool { return reflect.DeepEqual(a, b) }

// setCable changes where the cable of a card goes, how fast it is, and whether it is
// plugged in.
func (m *machine) setCable(ctx context.Context, key string, old, next qemu.Net) error {
	tap := cmdline.Tap{Name: m.tapName(key), Option: key, Net: next}
	switch {
	case next.Bridge == nil:
	case !same(old.Bridge, next.Bridge) || !same(old.Tag, next.Tag) || !same(old.Trunks, next.Trunks) || !same(old.Firewall, next.Firewall):
		if err := m.Power.MoveTap(tap); err != nil {
			was := tap
			was.Net = old
			return errors.Join(err, m.Power.MoveTap(was)) // what is configured holds
		}
	case !same(old.Rate, next.Rate):
		if err := m.Power.LimitTap(tap); err != nil {
			return err
		}
	}
	down := func(n qemu.Net) bool { return n.LinkDown != nil && *n.LinkDown }
	if down(old) != down(next) {
		return m.setLink(ctx, key, !down(next))
	}
	return nil
}
