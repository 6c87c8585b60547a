// Package ovmf reads and changes the variables that a UEFI firmware keeps in its
// flash image, as OVMF does in OVMF_VARS.fd and a VM in its EFI disk: to list them,
// and to enroll certificates for Secure Boot while no firmware runs.
//
// The image is a firmware volume (UEFI PI specification, volume 3, "Firmware Volume
// Header"; EFI_FIRMWARE_VOLUME_HEADER in EDK2's MdePkg) that holds three things one
// after the other: the store of variables (VARIABLE_STORE_HEADER and
// AUTHENTICATED_VARIABLE_HEADER in MdeModulePkg/Include/Guid/VariableFormat.h), a
// work space and a spare area for fault tolerant writes. Only bytes of the store are
// ever changed, in the way the firmware itself does it: a new variable goes behind
// the last one, then the old one is marked as deleted. Only where there is no room
// left is the store written anew.
//
// Images come from guests, so nothing in them is believed: what does not add up is
// an error that wraps [ErrFormat].
package ovmf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What can be wrong with an image.
var (
	// ErrFormat is the error of an image that is none, or is damaged.
	ErrFormat = errors.New("not a usable store of EFI variables")
	// ErrNoSpace is the error of a variable that does not fit.
	ErrNoSpace = errors.New("no space left in the store of EFI variables")
	// ErrUnfinished is the error of an image on which the firmware was stopped amid a
	// write that it ends when it starts next, over what we would write.
	ErrUnfinished = errors.New("the firmware has a write to finish: start the VM once, and shut it down")
	// ErrNoKeys is the error of a store without keys, in which Secure Boot is in
	// setup mode.
	ErrNoKeys = errors.New("no keys are enrolled")
)

// MaxSize bounds an image: the flash of ARM machines has 64 MiB.
const MaxSize = 64 << 20

// Figures of the firmware volume, EFI_FIRMWARE_VOLUME_HEADER.
const (
	volumeHeader   = 0x48 // with a block map of one entry and its end
	volumeGUID     = 0x10
	volumeLength   = 0x20
	volumeSign     = 0x28
	volumeHeadSize = 0x30
	volumeBlockMap = 0x38
)

// Figures of VARIABLE_STORE_HEADER.
const (
	storeHeader    = 28
	storeSize      = 16   // where the size of the store stands, header and all
	storeFormat    = 20   // and the two bytes of format and state
	storeFormatted = 0x5a // VARIABLE_STORE_FORMATTED
	storeHealthy   = 0xfe // VARIABLE_STORE_HEALTHY
)

// An Image is the content of a flash with variables.
type Image struct {
	data       []byte // as it is to be
	old        []byte // as it was read
	start, end int    // where variables can be, in data
	used       int    // where the last of them ends
	was        int    // and where it ended when the image was read
	vars       []Variable
	anew       bool // the store was written anew
}

// Parse reads an image. It may be followed by anything, as volumes of a storage can
// be larger than what they are made for. data is not kept.
func Parse(data []byte) (*Image, error) {
	length, header, err := volume(data)
	if err != nil {
		return nil, err
	}
	m := &Image{data: bytes.Clone(data[:length])}
	m.old = bytes.Clone(m.data)
	store := m.data[header:]
	if len(store) < storeHeader {
		return nil, fmt.Errorf("%w: no room for a store", ErrFormat)
	}
	switch id := GUID(store[:16]); id {
	case authenticatedStore():
	case plainStore():
		return nil, fmt.Errorf("%w: made for a firmware without Secure Boot", ErrFormat)
	default:
		return nil, fmt.Errorf("%w: unknown kind of store %s", ErrFormat, id)
	}
	size := binary.LittleEndian.Uint32(store[storeSize:])
	if size < storeHeader || int64(size) > int64(len(store)) {
		return nil, fmt.Errorf("%w: store of %d bytes in a volume of %d", ErrFormat, size, length)
	}
	if store[storeFormat] != storeFormatted || store[storeFormat+1] != storeHealthy {
		return nil, fmt.Errorf("%w: store is not formatted, or not healthy", ErrFormat)
	}
	m.start, m.end = header+storeHeader, header+int(size)
	if err := m.scan(); err != nil {
		return nil, err
	}
	m.was = m.used
	return m, m.checkWork()
}

// volume checks the header of the firmware volume that data begins with, and returns
// the length of both.
func volume(data []byte) (length, header int, err error) {
	if len(data) < volumeHeader || string(data[volumeSign:volumeSign+4]) != "_FVH" {
		return 0, 0, fmt.Errorf("%w: no firmware volume", ErrFormat)
	}
	if id := GUID(data[volumeGUID : volumeGUID+16]); id != nvData() {
		return 0, 0, fmt.Errorf("%w: firmware volume %s holds no variables", ErrFormat, id)
	}
	size := binary.LittleEndian.Uint64(data[volumeLength:])
	if size > MaxSize || size > uint64(len(data)) {
		return 0, 0, fmt.Errorf("%w: volume of %d bytes in an image of %d", ErrFormat, size, len(data))
	}
	header = int(binary.LittleEndian.Uint16(data[volumeHeadSize:]))
	if header < volumeHeader || header%2 != 0 || uint64(header) > size {
		return 0, 0, fmt.Errorf("%w: volume header of %d bytes", ErrFormat, header)
	}
	// the sixteen-bit words of the header sum up to zero
	var sum uint16
	for i := 0; i < header; i += 2 {
		sum += binary.LittleEndian.Uint16(data[i:])
	}
	if sum != 0 {
		return 0, 0, fmt.Errorf("%w: checksum of the volume header", ErrFormat)
	}
	return int(size), header, nil
}

// Bytes returns the image as it is to be.
func (m *Image) Bytes() []byte { return bytes.Clone(m.data) }

// Free is how many bytes behind the last variable are left.
func (m *Image) Free() int { return m.end - m.used }

// A Span is a run of bytes that changed.
type Span struct {
	Offset   int64
	Old, New []byte
}

// gap is how many equal bytes part two spans.
const gap = 64

// Changes returns what is to be written, in the order in which a stop after each
// span leaves a store that the firmware can use: new variables before the marks that
// take the old ones away.
func (m *Image) Changes() []Span {
	var spans []Span
	for from := m.start; from < m.end; {
		if m.data[from] == m.old[from] {
			from++
			continue
		}
		limit := m.end
		if !m.anew && from < m.was {
			limit = m.was
		}
		to := from + 1
		for i := to; i < limit && (m.anew || i-to < gap); i++ {
			if m.data[i] != m.old[i] {
				to = i + 1
			}
		}
		spans = append(spans, Span{Offset: int64(from), Old: bytes.Clone(m.old[from:to]), New: bytes.Clone(m.data[from:to])})
		from = to
	}
	slices.Reverse(spans)
	return spans
}
