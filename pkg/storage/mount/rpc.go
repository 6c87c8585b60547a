package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// ServerPatience is how long a server may take to say that it is there.
const ServerPatience = 3 * time.Second

// RPC fails unless something at an address answers a call of ONC RPC (RFC 5531) that
// does nothing. That a connection is accepted proves little: the kernel of the server
// does that, also for a program that hangs. Any answer will do, a refusal as well.
func RPC(ctx context.Context, address string, program, version uint32) error {
	_, err := call(ctx, address, 12, program, version, 0)
	return err
}

// Programs that a port mapper (RFC 1833) knows, and itself.
const (
	NFSProgram  = 100003
	portProgram = 100000
	portMapper  = "111"
)

// Port asks the port mapper of a server where one of its programs is reached by TCP.
func Port(ctx context.Context, server string, program, version uint32) (string, error) {
	address := net.JoinHostPort(server, portMapper)
	const tcp, length = 6, 32
	reply, err := call(ctx, address, length, portProgram, 2, 3, program, version, tcp, 0)
	if err != nil {
		return "", err
	}
	port := binary.BigEndian.Uint32(reply[length-4:])
	if accepted := binary.BigEndian.Uint32(reply[length-8:]); accepted != 0 || port == 0 || port > 1<<16-1 {
		return "", fmt.Errorf("%s knows no program %d of version %d", address, program, version)
	}
	return strconv.FormatUint(uint64(port), 10), nil
}

// call calls a procedure and returns the first n bytes of the reply, 12 at least.
func call(ctx context.Context, address string, n int, program, version, procedure uint32, args ...uint32) ([]byte, error) {
	const id = 0x76736d74
	words := append([]uint32{
		0,
		id, 0, 2, // a call, of RPC version 2
		program, version, procedure,
		0, 0, 0, 0, // no credentials, no verifier
	}, args...)
	words[0] = 1<<31 | uint32(4*(len(words)-1)) // one fragment, and its length
	b := make([]byte, 0, 4*len(words))
	for _, word := range words {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	reply, err := Ask(ctx, address, b, n)
	if err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(reply[4:]) != id || binary.BigEndian.Uint32(reply[8:]) != 1 {
		return nil, fmt.Errorf("%s does not speak ONC RPC", address)
	}
	return reply, nil
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
