package hotplug

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
)

// An address is what a card has of one family by configuration. What comes by DHCP or from
// routers is the container's affair.
type address struct {
	prefix  netip.Prefix // invalid where none is set
	gateway netip.Addr   // likewise
}

// direct tells whether the gateway is not in the network of the address.
func (a address) direct() bool {
	return !a.prefix.Contains(a.gateway) && !a.gateway.IsLinkLocalUnicast()
}

func parseAddress(ip, gateway *string) (a address, err error) {
	if ip != nil {
		switch *ip {
		case "", "dhcp", "auto", "manual":
		default:
			if a.prefix, err = netip.ParsePrefix(*ip); err != nil {
				return a, fmt.Errorf("unable to parse address '%s'", *ip)
			}
		}
	}
	if gateway != nil && *gateway != "" {
		if a.gateway, err = netip.ParseAddr(*gateway); err != nil {
			return a, fmt.Errorf("unable to parse gateway '%s'", *gateway)
		}
	}
	return a, nil
}

// address gives the card in the container the addresses and gateways of next in place of
// those of old.
func (w *wire) address(old, next container.Net) error {
	for _, family := range [][4]*string{
		{old.IP, old.Gateway, next.IP, next.Gateway}, {old.IP6, old.Gateway6, next.IP6, next.Gateway6},
	} {
		was, err := parseAddress(family[0], family[1])
		if err != nil {
			return err
		}
		will, err := parseAddress(family[2], family[3])
		if err != nil {
			return err
		}
		if was == will {
			continue
		}
		w.undo.Add("bring back the address of "+next.Name, func(context.Context) error { return w.give(next.Name, was) })
		if err := w.readdress(next.Name, was, will); err != nil {
			return err
		}
	}
	return nil
}

// give makes sure that a card has an address, and is the way to its gateway.
func (w *wire) give(card string, a address) error {
	if a.prefix.IsValid() {
		if _, err := w.inside.AddAddress(card, a.prefix); err != nil {
			return err
		}
	}
	if a.gateway.IsValid() {
		return w.inside.SetGateway(card, a.gateway, a.direct())
	}
	return nil
}

// readdress adds the new address and then takes away the old one, so that the container is
// never without.
func (w *wire) readdress(card string, old, next address) error {
	w.undo.Add("take back the address of "+card, func(context.Context) error { return w.take(card, next, old) })
	if err := w.give(card, next); err != nil {
		return err
	}
	if err := w.take(card, old, next); err != nil {
		return err
	}
	// The kernel may have taken the new address along with the old one of the same network.
	return w.give(card, next)
}

// take takes from a card what it has of an address that the other has not.
func (w *wire) take(card string, a, other address) error {
	var err error
	if a.gateway.IsValid() && a.gateway != other.gateway {
		err = w.inside.DeleteGateway(card, a.gateway, a.direct())
	}
	if a.prefix.IsValid() && a.prefix != other.prefix {
		err = errors.Join(err, w.inside.DeleteAddress(card, a.prefix))
	}
	return err
}

// writeNetwork makes the files in the root of the container say which network cards it has.
func (m *machine) writeNetwork(ctx context.Context, conf *container.Config) error {
	ids, err := volumes.IDs(m.doc.Values)
	if err != nil {
		return err
	}
	uid, gid, err := ids.Root()
	if err != nil {
		return err
	}
	root, err := rootfs.Open(fmt.Sprintf("/proc/%d/root", m.init), rootfs.Owner{UID: int(uid), GID: int(gid)})
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is left to be said
	files, err := setup.Open(root, conf, m.Setup(ctx))
	if err != nil {
		return err
	}
	return files.Network()
}
