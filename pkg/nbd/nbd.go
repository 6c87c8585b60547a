// Package nbd reads exports of the network block device protocol: what qemu-nbd, or a
// running QEMU, gives out.
package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The numbers of the protocol.
const (
	magicServer  = 0x4e42444d41474943 // NBDMAGIC
	magicOption  = 0x49484156454f5054 // IHAVEOPT
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1
	optExportName = 1

	cmdRead       = 0
	cmdDisconnect = 2
)

// mostRead is how much one request asks for; servers must allow 32 MiB.
const mostRead = 1 << 20

// A Client reads one export. It is for one goroutine.
type Client struct {
	c    net.Conn
	size int64
	next uint64
}

// Open begins to talk on a connection and asks for an export; most servers call their
// only one by an empty name.
func Open(c net.Conn, export string) (*Client, error) {
	var hello struct {
		Server, Option uint64
		Flags          uint16
	}
	if err := binary.Read(c, binary.BigEndian, &hello); err != nil {
		return nil, fmt.Errorf("nbd: read greeting: %w", err)
	}
	if hello.Server != magicServer || hello.Option != magicOption || hello.Flags&fixedNewstyle == 0 {
		return nil, errors.New("nbd: the server speaks another protocol")
	}
	flags := hello.Flags & (fixedNewstyle | noZeroes)
	ask := binary.BigEndian.AppendUint32(nil, uint32(flags))
	ask = binary.BigEndian.AppendUint64(ask, magicOption)
	ask = binary.BigEndian.AppendUint32(ask, optExportName)
	ask = binary.BigEndian.AppendUint32(ask, uint32(len(export)))
	if _, err := c.Write(append(ask, export...)); err != nil {
		return nil, fmt.Errorf("nbd: ask for export: %w", err)
	}
	var info struct {
		Size  uint64
		Flags uint16
	}
	// A server that has no such export closes the connection.
	if err := binary.Read(c, binary.BigEndian, &info); err != nil {
		return nil, fmt.Errorf("nbd: open export '%s': %w", export, err)
	}
	if flags&noZeroes == 0 {
		if _, err := io.CopyN(io.Discard, c, 124); err != nil {
			return nil, fmt.Errorf("nbd: open export '%s': %w", export, err)
		}
	}
	if info.Size > 1<<62 {
		return nil, fmt.Errorf("nbd: export '%s' has a bad size", export)
	}
	return &Client{c: c, size: int64(info.Size)}, nil
}

// Size returns the size of the export in bytes.
func (c *Client) Size() int64 { return c.size }

// ReadAt reads from the export. It implements [io.ReaderAt].
func (c *Client) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n := min(len(b)-done, mostRead)
		if left := c.size - off; int64(n) > left {
			if left <= 0 {
				return done, io.EOF
			}
			n = int(left)
		}
		if err := c.read(b[done:done+n], off); err != nil {
			return done, fmt.Errorf("nbd: read %d bytes at %d: %w", n, off, err)
		}
		done, off = done+n, off+int64(n)
	}
	return done, nil
}

func (c *Client) read(b []byte, off int64) error {
	c.next++
	if err := c.request(cmdRead, off, len(b)); err != nil {
		return err
	}
	var reply struct {
		Magic, Error uint32
		Handle       uint64
	}
	if err := binary.Read(c.c, binary.BigEndian, &reply); err != nil {
		return err
	}
	switch {
	case reply.Magic != magicReply || reply.Handle != c.next:
		return errors.New("the server has lost its way")
	case reply.Error != 0:
		return fmt.Errorf("the server says error %d", reply.Error)
	}
	_, err := io.ReadFull(c.c, b)
	return err
}

func (c *Client) request(command uint16, off int64, n int) error {
	ask := binary.BigEndian.AppendUint32(nil, magicRequest)
	ask = binary.BigEndian.AppendUint16(ask, 0)
	ask = binary.BigEndian.AppendUint16(ask, command)
	ask = binary.BigEndian.AppendUint64(ask, c.next)
	ask = binary.BigEndian.AppendUint64(ask, uint64(off))
	_, err := c.c.Write(binary.BigEndian.AppendUint32(ask, uint32(n)))
	return err
}

// Close says goodbye and closes the connection.
func (c *Client) Close() error {
	return errors.Join(c.request(cmdDisconnect, 0, 0), c.c.Close())
}
