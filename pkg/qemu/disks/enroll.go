package disks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/ovmf"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// enrolled returns the file that a new EFI disk begins with: that of the firmware, or a
// copy with the certificates of 2023 where ms-cert asks for them. done removes the copy.
func (s *Service) enrolled(ctx context.Context, vars string, d qemu.Drive) (path string, done func(), err error) {
	certs := wanted(d)
	if len(certs) == 0 || plan.From(ctx) != nil {
		return vars, func() {}, nil
	}
	content, err := os.ReadFile(vars)
	if err != nil {
		return "", nil, err
	}
	image, err := ovmf.Parse(content)
	if err == nil {
		_, err = image.Enroll(certs)
	}
	if err != nil {
		return "", nil, fmt.Errorf("enroll certificates: %s: %w", vars, err)
	}
	below := filepath.Join(s.Root, "run/virtsmith")
	if err := os.MkdirAll(below, 0o755); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(below, "efivars")
	if err != nil {
		return "", nil, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(path, image.Bytes(), 0o600); err != nil {
		done()
		return "", nil, err
	}
	return path, done, nil
}

// wanted lists the certificates that ms-cert asks for: 2023 those of boot loaders other
// than Windows', 2023w also that of Windows, 2023k also that of updates of the keys.
func wanted(d qemu.Drive) []ovmf.Certificate {
	if d.PreEnrolledKeys == nil || !*d.PreEnrolledKeys || text(d.EFIType) != "4m" {
		return nil
	}
	all := ovmf.Microsoft2023()
	without := func(variable, name string) []ovmf.Certificate {
		return slices.DeleteFunc(all, func(c ovmf.Certificate) bool {
			return c.Variable == variable && (name == "" || c.Name == name)
		})
	}
	switch text(d.MSCert) {
	case "2023":
		all = without("KEK", "")
		return without("db", "Windows UEFI CA 2023")
	case "2023w":
		return without("KEK", "")
	case "2023k":
		return all
	}
	return nil
}
