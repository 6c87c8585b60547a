package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ServerPatience is how long a server may take to say that it is there.
const ServerPatience = 3 * time.Second

// RPC fails unless something at an address answers a call of ONC RPC (RFC 5531) that
// does nothing. That a connection is accepted proves little: the kernel of the server
// does that, also for a program that hangs. Any answer will do, a refusal as well.
func RPC(ctx context.Context, address string, program, version uint32) error {
	const id = 0x76736d74
	call := []uint32{
		1<<31 | 40, // one fragment of 40 bytes
		id, 0, 2,   // a call, of RPC version 2
		program, version, 0,
		0, 0, 0, 0, // no credentials, no verifier
	}
	b := make([]byte, 0, 4*len(call))
	for _, word := range call {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	reply, err := Ask(ctx, address, b, 12)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint32(reply[4:]) != id || binary.BigEndian.Uint32(reply[8:]) != 1 {
		return fmt.Errorf("%s does not speak ONC RPC", address)
	}
	return nil
}

// Ask sends a question to an address and returns the first n bytes of the answer, in
// bounded time.
func Ask(ctx context.Context, address string, question []byte, n int) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, ServerPatience, fmt.Errorf("no answer in %s", ServerPatience))
	defer cancel()
	said := func(err error) error {
		var netErr net.Error
		if ctx.Err() != nil || errors.As(err, &netErr) && netErr.Timeout() {
			err = fmt.Errorf("no answer in %s", ServerPatience)
			if parent := context.Cause(ctx); parent != nil {
				err = parent
			}
		}
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err // the address is told once
		}
		return fmt.Errorf("%s: %w", address, err)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, said(err)
	}
	defer c.Close() //nolint:errcheck // all that was wanted has been read
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(question); err != nil {
		return nil, said(err)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, said(err)
	}
	return answer, nil
}
