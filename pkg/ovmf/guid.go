package ovmf

import (
	"encoding/binary"
	"fmt"
)

// A GUID names a vendor or a kind of thing, in the byte order that UEFI stores.
type GUID [16]byte

// String writes g as UEFI's documents do.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(g[:]), binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// guid puts a GUID together as EDK2 writes them in C.
func guid(a uint32, b, c uint16, d ...byte) GUID {
	var g GUID
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	copy(g[8:], d)
	return g
}

// nvData is gEfiSystemNvDataFvGuid (MdeModulePkg/Include/Guid/SystemNvDataGuid.h).
func nvData() GUID {
	return guid(0xfff12b8d, 0x7696, 0x4c8b, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50)
}

// authenticatedStore is gEfiAuthenticatedVariableGuid (VariableFormat.h).
func authenticatedStore() GUID {
	return guid(0xaaf32c78, 0x947b, 0x439a, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92)
}

// plainStore is gEfiVariableGuid (VariableFormat.h).
func plainStore() GUID {
	return guid(0xddcf3616, 0x3275, 0x4164, 0x98, 0xb6, 0xfe, 0x85, 0x70, 0x7f, 0xfe, 0x7d)
}

// workingBlock is gEdkiiWorkingBlockSignatureGuid (SystemNvDataGuid.h).
func workingBlock() GUID {
	return guid(0x9e58292b, 0x7c68, 0x497d, 0xa0, 0xce, 0x65, 0x00, 0xfd, 0x9f, 0x1b, 0x95)
}

// Global is EFI_GLOBAL_VARIABLE, the vendor of PK and KEK (UEFI specification,
// "Globally Defined Variables").
func Global() GUID {
	return guid(0x8be4df61, 0x93ca, 0x11d2, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
}

// ImageSecurity is EFI_IMAGE_SECURITY_DATABASE_GUID, the vendor of db and dbx.
func ImageSecurity() GUID {
	return guid(0xd719b2cb, 0x3d3a, 0x4596, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f)
}

// X509 is EFI_CERT_X509_GUID, the type of a list of certificates.
func X509() GUID {
	return guid(0xa5c059a1, 0x94e4, 0x4aa7, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72)
}

// Microsoft is the owner under which Microsoft has its certificates enrolled.
func Microsoft() GUID {
	return guid(0x77fa9abd, 0x0359, 0x4d32, 0xbd, 0x60, 0x28, 0xf4, 0xe7, 0x8f, 0x78, 0x4b)
}
