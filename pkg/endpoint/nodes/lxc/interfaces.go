package lxc

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

func (s *Service) interfaceMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "ip", Verb: "GET", Path: "/nodes/{node}/lxc/{vmid}/interfaces",
			Doc: "List the network devices of a running container.", ProxyTo: "node", Protected: true, Permissions: auditCT(),
		}, s.interfaces),
	}
}

// interfaceItem is a network device as the container sees it.
type interfaceItem struct {
	HardwareAddress string             `pve:"hardware-address" doc:"Its hardware address."`
	HWAddr          string             `pve:"hwaddr" doc:"The same, by the name it had first."`
	Inet            *string            `pve:"inet" doc:"First IPv4 address, with the length of its prefix."`
	Inet6           *string            `pve:"inet6" doc:"First IPv6 address, with the length of its prefix."`
	Addresses       []interfaceAddress `pve:"ip-addresses" doc:"All its addresses."`
	Name            string             `pve:"name" doc:"Name in the container."`
}

// interfaceAddress is one address of a network device.
type interfaceAddress struct {
	Address *string `pve:"ip-address" doc:"The address."`
	Type    *string `pve:"ip-address-type" doc:"inet or inet6."`
	Prefix  *int    `pve:"prefix" doc:"Length of its prefix."`
}

func (s *Service) interfaces(ctx context.Context, req target) ([]interfaceItem, error) {
	if err := s.configured(ctx, req.VMID); err != nil {
		return nil, err
	}
	pid, err := s.CTs.LXC.InitPID(ctx, req.VMID.String())
	if err != nil {
		return nil, err
	}
	if pid <= 0 {
		return nil, fmt.Errorf("CT %s not running", req.VMID)
	}
	found, err := lxc.Interfaces(pid)
	if err != nil {
		return nil, fmt.Errorf("network devices of CT %s: %w", req.VMID, err)
	}
	items := make([]interfaceItem, 0, len(found))
	for _, device := range found {
		items = append(items, itemOf(device))
	}
	return items, nil
}

func itemOf(device lxc.Interface) interfaceItem {
	mac := device.MAC.String()
	if mac == "" {
		mac = "00:00:00:00:00:00" // as the loopback device is shown everywhere
	}
	item := interfaceItem{Name: device.Name, HWAddr: mac, HardwareAddress: mac, Addresses: []interfaceAddress{}}
	for _, prefix := range device.Addresses {
		kind, first := "inet6", &item.Inet6
		if prefix.Addr().Is4() {
			kind, first = "inet", &item.Inet
		}
		item.Addresses = append(item.Addresses, interfaceAddress{
			Address: new(prefix.Addr().String()), Type: &kind, Prefix: new(prefix.Bits()),
		})
		if *first == nil {
			*first = new(prefix.String())
		}
	}
	return item
}
