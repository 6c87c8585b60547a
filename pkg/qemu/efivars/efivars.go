// Package efivars changes what the firmware of a VM keeps on its EFI disk, while the
// VM is stopped.
package efivars

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/ovmf"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

const key = "efidisk0"

// Certs2023 is what ms-cert of an EFI disk says where all certificates of 2023 are
// on it. Each value includes those before: 2023 is the one that Microsoft signs the
// boot loaders of others with, 2023w also the one it signs Windows with, and 2023k
// also the one it signs updates of the keys with.
const Certs2023 = "2023k"

// Enroll adds Microsoft's certificates of 2023 to the EFI disk of a stopped VM that
// was made with keys enrolled, and notes it in the configuration. What is enrolled
// already stays; to do it again changes nothing.
//
// The disk is written before the configuration: where that fails, the next call finds
// the certificates there and has only the note to make.
func Enroll(ctx context.Context, h *vm.Host, vmid id.VM) error {
	return h.Change(ctx, vmid, "enroll EFI keys", func(ctx context.Context, doc *config.Doc) error {
		d, err := check(h, vmid, doc)
		if err != nil {
			return err
		}
		added, err := enroll(ctx, h, d)
		if err != nil {
			return fmt.Errorf("VM %s: enroll certificates in %s: %w", vmid, d.File, err)
		}
		for _, c := range added {
			if plan.From(ctx) == nil {
				api.Printf(ctx, "%s: enrolled '%s'\n", c.Variable, c.Name)
			}
		}
		if len(added) == 0 {
			api.Printf(ctx, "all certificates are enrolled already\n")
		}
		if d.MSCert != nil && *d.MSCert == Certs2023 {
			return vm.ErrUnchanged
		}
		d.MSCert = new(Certs2023)
		doc.Values[key] = qemu.PrintDrive(d)
		return nil
	})
}

// check returns the EFI disk of a VM whose keys can be changed.
func check(h *vm.Host, vmid id.VM, doc *config.Doc) (qemu.Drive, error) {
	if err := guest.CheckLock(cluster.VM, doc); err != nil {
		return qemu.Drive{}, err
	}
	if guest.IsTemplate(doc) {
		return qemu.Drive{}, fmt.Errorf("VM %s is a template: its disks do not change", vmid)
	}
	switch running, err := h.Running(vmid); {
	case err != nil:
		return qemu.Drive{}, err
	case running:
		return qemu.Drive{}, fmt.Errorf("VM %s is running - shut it down to enroll EFI keys", vmid)
	}
	text, ok := doc.Values[key]
	if !ok {
		return qemu.Drive{}, fmt.Errorf("VM %s has no EFI disk configured", vmid)
	}
	d, err := qemu.ParseDrive(key, text)
	switch {
	case err != nil:
		return d, fmt.Errorf("%s: %w", key, err)
	case d.PreEnrolledKeys == nil || !*d.PreEnrolledKeys:
		return d, fmt.Errorf("EFI disk of VM %s was made without pre-enrolled keys", vmid)
	case d.EFIType == nil || *d.EFIType != "4m":
		return d, fmt.Errorf("EFI disk of VM %s is not of type 4m, which Secure Boot needs", vmid)
	}
	return d, nil
}

// enroll changes the volume of an EFI disk and returns what was added.
func enroll(ctx context.Context, h *vm.Host, d qemu.Drive) ([]ovmf.Certificate, error) {
	v, err := open(ctx, h, d)
	if err != nil {
		return nil, err
	}
	content, err := v.read(ctx)
	if err != nil {
		return nil, err
	}
	image, err := ovmf.Parse(content)
	if err != nil {
		return nil, err
	}
	added, err := image.Enroll(ovmf.Microsoft2023())
	switch {
	case errors.Is(err, ovmf.ErrNoKeys):
		return nil, fmt.Errorf("%w: Secure Boot is in setup mode", err)
	case err != nil || len(added) == 0:
		return nil, err
	}
	if p := plan.From(ctx); p != nil {
		for _, c := range added {
			p.Stepf("enroll '%s' into %s of %s", c.Name, c.Variable, d.File)
		}
		return added, nil
	}
	return added, v.write(ctx, content, image.Changes())
}
