package ovmf

import (
	_ "embed" // the certificates
	"fmt"
)

// A Certificate is one to enroll.
type Certificate struct {
	Variable string // KEK or db
	Name     string // the common name of its subject
	DER      []byte
}

var (
	//go:embed certs/microsoft-corporation-kek-2k-ca-2023.der
	kek2023 string
	//go:embed certs/windows-uefi-ca-2023.der
	windows2023 string
	//go:embed certs/microsoft-uefi-ca-2023.der
	uefi2023 string
	//go:embed certs/microsoft-option-rom-uefi-ca-2023.der
	optionROM2023 string
)

// Microsoft2023 returns the certificates of 2023 that follow those of 2011, which
// expire in 2026: the one that signs updates of db and dbx, the one that signs
// Windows, and the two that sign what others make, such as the boot loaders of Linux
// distributions and the option ROMs of cards. certs/README.md tells where they are
// from.
func Microsoft2023() []Certificate {
	return []Certificate{
		{"KEK", "Microsoft Corporation KEK 2K CA 2023", []byte(kek2023)},
		{"db", "Windows UEFI CA 2023", []byte(windows2023)},
		{"db", "Microsoft UEFI CA 2023", []byte(uefi2023)},
		{"db", "Microsoft Option ROM UEFI CA 2023", []byte(optionROM2023)},
	}
}

// vendorOf is the vendor of a variable with keys.
func vendorOf(variable string) GUID {
	if variable == "PK" || variable == "KEK" {
		return Global()
	}
	return ImageSecurity()
}

// Signatures reads PK, KEK, db or dbx.
func (m *Image) Signatures(variable string) ([]SignatureList, error) {
	v, ok := m.Get(vendorOf(variable), variable)
	if !ok {
		return nil, nil
	}
	lists, err := ParseSignatures(v.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	return lists, nil
}

// Enroll adds those of certs that are missing to KEK and db and returns them. The
// variables keep their attributes and the time of the last signed write, so that
// what a guest could update before it can update after. A store without keys, in
// which Secure Boot is off until there are some, is left as it is: the error is
// [ErrNoKeys].
func (m *Image) Enroll(certs []Certificate) (added []Certificate, err error) {
	if _, ok := m.Get(Global(), "PK"); !ok {
		return nil, fmt.Errorf("PK: %w", ErrNoKeys)
	}
	for _, name := range []string{"KEK", "db"} {
		v, ok := m.Get(vendorOf(name), name)
		if !ok {
			return nil, fmt.Errorf("%s: %w", name, ErrNoKeys)
		}
		lists, err := ParseSignatures(v.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		n := len(added)
		for _, c := range certs {
			if c.Variable == name && !hasCertificate(lists, c.DER) {
				v.Data = AppendCertificate(v.Data, Microsoft(), c.DER)
				added = append(added, c)
			}
		}
		if len(added) == n {
			continue
		}
		if err := m.Set(v); err != nil {
			return nil, err
		}
	}
	return added, nil
}
