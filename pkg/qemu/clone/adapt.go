package clone

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// adapt gives the new VM what must differ from its source: its name, the addresses of
// its network cards, the ids that its guest sees.
func (s *Service) adapt(ctx context.Context, o Options, doc *config.Doc) error {
	v := doc.Values
	dc, err := s.Cluster.Datacenter(ctx, nil)
	if err != nil {
		return err
	}
	prefix := ""
	if dc.MACPrefix != nil {
		prefix = *dc.MACPrefix
	}
	for key, value := range v {
		if family, _, ok := schema.Member(key); ok && family == "net" {
			if v[key], err = s.newCard(key, value, prefix); err != nil {
				return err
			}
		}
	}
	var firmware qemu.SMBIOS
	if text := v["smbios1"]; text != "" {
		if err := schema.Parse(text, &firmware); err != nil {
			return fmt.Errorf("smbios1: %w", err)
		}
	}
	firmware.UUID = new(s.UUID())
	v["smbios1"] = schema.Print(firmware)
	if old := v["vmgenid"]; old != "" && old != "0" {
		v["vmgenid"] = s.UUID()
	}
	switch {
	case o.Name != "":
		v["name"] = o.Name
	case v["name"] != "":
		v["name"] = "Copy-of-VM-" + v["name"]
	default:
		v["name"] = "Copy-of-VM-" + o.VM.String()
	}
	if o.Description != "" {
		v[config.Description] = o.Description
	}
	v["lock"] = "clone"
	return nil
}

// newCard returns a network card with an address of its own.
func (s *Service) newCard(key, value, prefix string) (string, error) {
	var card qemu.Net
	if err := schema.Parse(value, &card); err != nil {
		return "", fmt.Errorf("unable to parse network configuration '%s': %w", key, err)
	}
	mac, err := guest.NewMAC(prefix, s.Random)
	if err != nil {
		return "", err
	}
	card.MAC = &mac
	return schema.Print(card), nil
}
