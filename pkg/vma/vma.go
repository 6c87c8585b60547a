// Package vma reads the format that backups of VMs are archived in: a header with the
// configuration, then the clusters of all disks in the order they were read. An archive
// is read strictly forward, so it can come through a pipe.
//
// The format is that of the vma program, version 1; archives are byte-compatible.
package vma

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Sizes and places of the header, in bytes.
const (
	fixedSize   = 12288   // before the blobs
	largest     = 8 << 16 // a header may have: eight clusters
	sumAt       = 32      // the MD5 of the header, taken with zeros in its place
	blobsAt     = 48      // offset, used size, and size of the whole header
	namesAt     = 2044
	dataAt      = 3068
	devicesAt   = 4096
	deviceSize  = 32
	slots       = 256
	version     = 1
	magicHeader = "VMA\x00"
)

// ErrFormat is the error of what is no archive, or a damaged one.
var ErrFormat = errors.New("not a VMA archive")

// A Header is what an archive begins with.
type Header struct {
	UUID    [16]byte // repeated in every extent
	Created time.Time
	Configs []Config
	Devices []Device // by their number; those that the archive does not have are left out
}

// A Config is a file that is archived beside the disks: qemu-server.conf, qemu-server.fw.
type Config struct {
	Name string
	Data []byte
}

// A Device is an archived disk.
type Device struct {
	ID   uint8 // 1 to 255
	Name string
	Size int64 // bytes
}

// ReadHeader reads the header of an archive, and not a byte more. The error is
// [ErrFormat], or that of the reader.
func ReadHeader(r io.Reader) (*Header, error) {
	b := make([]byte, fixedSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, short(err)
	}
	if string(b[:4]) != magicHeader {
		return nil, fmt.Errorf("%w: no magic number", ErrFormat)
	}
	if v := binary.BigEndian.Uint32(b[4:]); v != version {
		return nil, fmt.Errorf("%w: version %d", ErrFormat, v)
	}
	offset, used, size := binary.BigEndian.Uint32(b[blobsAt:]), binary.BigEndian.Uint32(b[blobsAt+4:]), binary.BigEndian.Uint32(b[blobsAt+8:])
	if offset != fixedSize || size < fixedSize || size > largest || used > size-fixedSize {
		return nil, fmt.Errorf("%w: a header of %d bytes with %d bytes of names and configurations", ErrFormat, size, used)
	}
	b = append(b, make([]byte, size-fixedSize)...)
	if _, err := io.ReadFull(r, b[fixedSize:]); err != nil {
		return nil, short(err)
	}
	if !sound(b) {
		return nil, fmt.Errorf("%w: wrong checksum of the header", ErrFormat)
	}
	h := &Header{UUID: [16]byte(b[8:24]), Created: time.Unix(int64(binary.BigEndian.Uint64(b[24:])), 0)}
	return h, h.fill(b, b[fixedSize:fixedSize+used])
}

// short tells that an archive ends too early.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within the header", ErrFormat)
	}
	return err
}

// sound checks the sum of a header.
func sound(b []byte) bool {
	var zeros [md5.Size]byte
	sum := md5.New()
	for _, part := range [][]byte{b[:sumAt], zeros[:], b[sumAt+md5.Size:]} {
		sum.Write(part)
	}
	return bytes.Equal(sum.Sum(nil), b[sumAt:sumAt+md5.Size])
}

// fill reads the tables of a header.
func (h *Header) fill(b, buffer []byte) error {
	blobs := split(buffer)
	for i := range slots {
		name, data := binary.BigEndian.Uint32(b[namesAt+4*i:]), binary.BigEndian.Uint32(b[dataAt+4*i:])
		if name == 0 || data == 0 {
			continue
		}
		text, named := text(blobs, name)
		content, ok := blobs[data]
		if !named || !ok {
			return fmt.Errorf("%w: configuration %d is not where the header says", ErrFormat, i)
		}
		h.Configs = append(h.Configs, Config{text, content})
	}
	for i := 1; i < slots; i++ {
		entry := b[devicesAt+deviceSize*i:]
		size := int64(binary.BigEndian.Uint64(entry[8:]))
		name, named := text(blobs, binary.BigEndian.Uint32(entry))
		if size == 0 || !named {
			continue
		}
		if size < 0 {
			return fmt.Errorf("%w: the size of device %s", ErrFormat, name)
		}
		h.Devices = append(h.Devices, Device{uint8(i), name, size})
	}
	return nil
}

// split takes the buffer of blobs apart, by their offsets.
func split(buffer []byte) map[uint32][]byte {
	blobs := map[uint32][]byte{}
	for at := 1; at+2 <= len(buffer); {
		end := at + 2 + int(binary.LittleEndian.Uint16(buffer[at:]))
		if end > len(buffer) {
			break
		}
		blobs[uint32(at)] = buffer[at+2 : end]
		at = end
	}
	return blobs
}

// text returns a name, which ends in a zero byte.
func text(blobs map[uint32][]byte, at uint32) (string, bool) {
	b, ok := bytes.CutSuffix(blobs[at], []byte{0})
	return string(b), ok
}
