package nbd_test

import (
	"io"
	"net"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/nbd"
)

// FuzzOpen: whatever a server says, the client ends with an error or an export.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("NBDMAGICIHAVEOPT\x00\x03\x00\x00\x00\x00\x00\x00\x10\x00\x00\x01"))
	f.Add([]byte("NBDMAGICIHAVEOPT\x00\x01\x00\x00\x00\x00\x00\x00\x10\x00\x00\x01"))
	f.Add([]byte("NBDMAGIC"))
	f.Fuzz(func(_ *testing.T, said []byte) {
		client, server := net.Pipe()
		defer client.Close() //nolint:errcheck // a pipe
		go func() { _, _ = io.Copy(io.Discard, server) }()
		go func() {
			_, _ = server.Write(said)
			_ = server.Close()
		}()
		if c, err := nbd.Open(client, ""); err == nil {
			_, _ = c.ReadAt(make([]byte, 100), 0)
			_ = c.Close()
		}
	})
}
