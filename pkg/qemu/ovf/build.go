package ovf

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
)

// The resource types of CIM that matter here.
const (
	typeCPU    = "3"
	typeMemory = "4"
	typeIDE    = "5"
	typeSCSI   = "6"
	typeNet    = "10"
	typeDisk   = "17"
	typeSATA   = "20" // any other storage controller
)

// A builder makes a Machine of the items of a manifest.
type builder struct {
	envelope *envelope
	items    []item
	m        *Machine
}

// general takes over what is not hardware.
func (b *builder) general(s *system) {
	name := s.Name
	if strings.TrimSpace(name) == "" {
		name = s.ID
	}
	if name = clean(name); name != "" {
		b.m.Options["name"] = name
	}
	b.m.Options["ostype"] = osType(s.OS)
	for _, h := range s.Hardware {
		for _, c := range h.Settings {
			if c.Key == "firmware" && strings.EqualFold(c.Value, "efi") {
				b.m.Options["bios"] = "ovmf"
				b.m.Notes["bios"] = "the EFI variables are not part of the manifest: boot entries may be lost"
			}
		}
	}
}

// clean leaves of a name what a VM's name can have.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return -1
	}, name)
	if len(name) > 63 {
		name = name[:63]
	}
	return strings.Trim(name, "-")
}

// hardware takes over CPUs and memory: the first item of each.
func (b *builder) hardware() error {
	for _, i := range b.items {
		switch strings.TrimSpace(i.Type) {
		case typeCPU:
			n, err := number(i.Quantity)
			if err != nil || n < 1 {
				return fmt.Errorf("item %s: number of CPUs is %q", i.id(), i.Quantity)
			}
			b.first("cores", n)
		case typeMemory:
			n, err := memory(i)
			if err != nil {
				return fmt.Errorf("item %s: memory: %w", i.id(), err)
			}
			b.first("memory", n)
		}
	}
	return nil
}

func (b *builder) first(option string, n int64) {
	if _, ok := b.m.Options[option]; !ok {
		b.m.Options[option] = strconv.FormatInt(n, 10)
	}
}

// memory returns MiB. Without a unit the quantity is in MiB where bytes make no sense,
// whatever the standard says: so it is written.
func memory(i item) (int64, error) {
	units := i.Units
	if strings.TrimSpace(units) == "" {
		units = "byte"
		if n, err := number(i.Quantity); err == nil && n < 1<<20 {
			units = "byte * 2^20"
		}
	}
	bytes, err := size(i.Quantity, units)
	if err == nil && bytes < 1<<20 {
		err = fmt.Errorf("%d bytes are too few", bytes)
	}
	return bytes >> 20, err
}

func number(text string) (int64, error) { return strconv.ParseInt(strings.TrimSpace(text), 10, 64) }

// size returns a quantity in bytes.
func size(quantity, units string) (int64, error) {
	n, err := number(quantity)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a quantity", quantity)
	}
	factor, err := unit(units)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%s %s is too much", quantity, units)
	}
	return n * factor, nil
}

// unit returns how many bytes a unit is, such as "byte * 2^20", "GigaBytes" or nothing.
func unit(text string) (int64, error) {
	words := strings.ToLower(strings.Join(strings.Fields(text), ""))
	switch words {
	case "", "byte", "bytes":
		return 1, nil
	case "kilobytes", "kb":
		return 1 << 10, nil
	case "megabytes", "mb":
		return 1 << 20, nil
	case "gigabytes", "gb":
		return 1 << 30, nil
	}
	power, ok := strings.CutPrefix(strings.TrimPrefix(words, "byte*"), "2^")
	if n, err := strconv.Atoi(power); ok && err == nil && n >= 0 && n < 62 {
		return 1 << n, nil
	}
	power, ok = strings.CutPrefix(strings.TrimPrefix(words, "byte*"), "10^")
	if n, err := strconv.Atoi(power); ok && err == nil && n >= 0 && n < 18 {
		return int64(math.Pow10(n)), nil
	}
	return 0, fmt.Errorf("unit %q is not known", text)
}

// nets takes over the network cards.
func (b *builder) nets() {
	for _, i := range b.items {
		if strings.TrimSpace(i.Type) != typeNet {
			continue
		}
		key := fmt.Sprintf("net%d", len(b.m.Nets))
		if len(b.m.Nets) == 32 {
			b.m.Notes["net"] = "more than 32 network cards: the others are left out"
			return
		}
		n := Net{Model: model(i.SubType)}
		if n.Model == "" {
			n.Model = "e1000"
			b.m.Notes[key] = fmt.Sprintf("card %q is not known, it becomes an e1000", i.SubType)
		}
		if mac, err := net.ParseMAC(strings.TrimSpace(i.Address)); err == nil && len(mac) == 6 {
			n.MAC = strings.ToUpper(mac.String())
		}
		if len(i.Connections) > 0 {
			n.Network = strings.TrimSpace(i.Connections[0])
		}
		b.m.Nets[key] = n
	}
}

func model(subtype string) string {
	switch m := strings.ToLower(strings.TrimSpace(subtype)); m {
	case "e1000", "e1000e", "vmxnet3", "virtio", "rtl8139", "ne2k_pci", "pcnet":
		return m
	case "pcnet32", "flexible", "vlance":
		return "pcnet"
	case "vmxnet", "vmxnet2":
		return "vmxnet3"
	case "82540em", "82545em":
		return "e1000-" + m
	case "virtio-net":
		return "virtio"
	}
	return ""
}
