package ovf

import (
	"fmt"
	"strconv"
	"strings"
)

// buses says how many drives each bus has.
func buses() map[string]int { return map[string]int{"ide": 4, "sata": 6, "scsi": 31} }

// disks takes over the hard disks, and boots from them in their order.
func (b *builder) disks() error {
	taken := map[string]bool{}
	var order []string
	for _, i := range b.items {
		if strings.TrimSpace(i.Type) != typeDisk {
			continue
		}
		d, err := b.disk(i)
		if err != nil {
			return fmt.Errorf("disk %s: %w", i.id(), err)
		}
		if d == nil {
			continue
		}
		if d.Address, err = b.address(i, taken); err != nil {
			return fmt.Errorf("disk %s: %w", i.id(), err)
		}
		taken[d.Address] = true
		order = append(order, d.Address)
		b.m.Disks = append(b.m.Disks, *d)
	}
	if len(order) > 0 {
		b.m.Options["boot"] = "order=" + strings.Join(order, ";")
	}
	return nil
}

// disk finds what an item of a disk refers to; nil where that is nothing.
func (b *builder) disk(i item) (*Disk, error) {
	if len(i.Resources) == 0 {
		return nil, nil //nolint:nilnil // a slot without a disk
	}
	ref := strings.TrimPrefix(strings.TrimLeft(strings.TrimPrefix(strings.TrimSpace(i.Resources[0]), "ovf:"), "/"), "/")
	kind, id, _ := strings.Cut(ref, "/")
	switch kind {
	case "file":
		name, err := b.file(id)
		return &Disk{File: name}, err
	case "disk":
		return b.image(id)
	}
	return nil, fmt.Errorf("host resource %q is neither a disk nor a file", i.Resources[0])
}

// image reads an entry of the disk section.
func (b *builder) image(id string) (*Disk, error) {
	for _, d := range b.envelope.Disks {
		if d.ID != id {
			continue
		}
		if d.Parent != "" {
			return nil, fmt.Errorf("%q is a difference to disk %q, which cannot be imported", id, d.Parent)
		}
		n, err := size(d.Capacity, d.Units)
		if err != nil && (d.File == "" || !strings.HasPrefix(d.Capacity, "${")) { // an image says its size itself
			return nil, fmt.Errorf("capacity: %w", err)
		}
		if d.File == "" {
			return &Disk{Size: n}, nil
		}
		name, err := b.file(d.File)
		return &Disk{File: name, Size: n}, err
	}
	return nil, fmt.Errorf("manifest has no disk %q", id)
}

// file returns the name of a referenced file.
func (b *builder) file(id string) (string, error) {
	for _, f := range b.envelope.Files {
		switch {
		case f.ID != id:
		case f.Href == "":
			return "", fmt.Errorf("file %q has no name", id)
		case f.Compression != "" && f.Compression != "identity":
			return "", fmt.Errorf("image %q is compressed with %s: unpack it first", f.Href, f.Compression)
		case f.ChunkSize != "":
			return "", fmt.Errorf("image %q is split into chunks: join them first", f.Href)
		default:
			return f.Href, nil
		}
	}
	return "", fmt.Errorf("manifest has no file %q", id)
}

// address returns where a disk goes: its own place on its bus, or the next that is free.
func (b *builder) address(i item, taken map[string]bool) (string, error) {
	bus, err := b.bus(i)
	if err != nil {
		return "", err
	}
	start := 0
	if text := strings.TrimSpace(i.AddressOnParent); text != "" {
		if start, err = strconv.Atoi(text); err != nil || start < 0 {
			return "", fmt.Errorf("address %q is not a number", text)
		}
	}
	count := buses()[bus]
	if start >= count {
		start = 0
	}
	for n := range count {
		if a := bus + strconv.Itoa((start+n)%count); !taken[a] {
			return a, nil
		}
	}
	return "", fmt.Errorf("more than %d disks on bus %s", count, bus)
}

// bus returns the kind of bus a disk is on, and takes over the model of its controller.
func (b *builder) bus(i item) (string, error) {
	parent := strings.TrimSpace(i.Parent)
	if parent == "" {
		return "scsi", nil
	}
	for _, c := range b.items {
		if c.id() != parent {
			continue
		}
		sub := strings.ToLower(strings.TrimSpace(c.SubType))
		switch strings.TrimSpace(c.Type) {
		case typeIDE:
			return "ide", nil
		case typeSCSI:
			if hw := scsiModel(sub); hw != "" {
				b.m.Options["scsihw"] = hw
			}
			return "scsi", nil
		case typeSATA:
			if strings.Contains(sub, "nvme") {
				b.m.Notes["scsi"] = "NVMe disks become SCSI disks"
				return "scsi", nil
			}
			return "sata", nil
		}
		return "", fmt.Errorf("its parent %s is no disk controller", parent)
	}
	return "", fmt.Errorf("its controller %s is missing", parent)
}

// scsiModel names the controller that guests with drivers for subtype can use; empty leaves
// the default.
func scsiModel(subtype string) string {
	switch subtype {
	case "virtualscsi", "pvscsi":
		return "pvscsi"
	case "virtio", "virtio-scsi", "virtioscsi":
		return "virtio-scsi-pci"
	}
	return ""
}
