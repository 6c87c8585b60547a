package ovmf

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A SignatureList is a list of things that are trusted or not, all of one type and
// length: EFI_SIGNATURE_LIST (UEFI specification, "Signature Database").
type SignatureList struct {
	Type       GUID
	Header     []byte
	Signatures []Signature
}

// A Signature is one of them, EFI_SIGNATURE_DATA.
type Signature struct {
	Owner GUID
	Data  []byte
}

const listHeader = 28 // type, and the lengths of list, header and signature

// ParseSignatures reads the lists that PK, KEK, db and dbx consist of.
func ParseSignatures(b []byte) ([]SignatureList, error) {
	var lists []SignatureList
	for len(b) > 0 {
		if len(b) < listHeader {
			return nil, fmt.Errorf("%w: signature list of %d bytes", ErrFormat, len(b))
		}
		size := uint64(binary.LittleEndian.Uint32(b[16:]))
		header := uint64(binary.LittleEndian.Uint32(b[20:]))
		each := uint64(binary.LittleEndian.Uint32(b[24:]))
		switch {
		case size > uint64(len(b)), size < listHeader+header:
			return nil, fmt.Errorf("%w: signature list of %d bytes in %d", ErrFormat, size, len(b))
		case each < 16, (size-listHeader-header)%each != 0:
			return nil, fmt.Errorf("%w: signatures of %d bytes", ErrFormat, each)
		}
		l := SignatureList{Type: GUID(b[:16]), Header: bytes.Clone(b[listHeader : listHeader+header])}
		for rest := b[listHeader+header : size]; len(rest) > 0; rest = rest[each:] {
			l.Signatures = append(l.Signatures, Signature{Owner: GUID(rest[:16]), Data: bytes.Clone(rest[16:each])})
		}
		lists = append(lists, l)
		b = b[size:]
	}
	return lists, nil
}

// AppendCertificate adds a list with one certificate to b: certificates differ in
// length, so each has a list of its own.
func AppendCertificate(b []byte, owner GUID, der []byte) []byte {
	kind := X509()
	b = append(b, kind[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(listHeader+16+len(der)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(16+len(der)))
	b = append(b, owner[:]...)
	return append(b, der...)
}

// hasCertificate tells whether lists have a certificate, whoever owns it.
func hasCertificate(lists []SignatureList, der []byte) bool {
	for _, l := range lists {
		for _, s := range l.Signatures {
			if l.Type == X509() && bytes.Equal(s.Data, der) {
				return true
			}
		}
	}
	return false
}
