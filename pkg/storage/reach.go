package storage

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// reachPatience is how long a server may take to accept a connection.
const reachPatience = 2 * time.Second

// Reach tells whether the server at an address, a host with or without a port, accepts
// connections, in bounded time. port is used where the address has none.
func Reach(ctx context.Context, address, port string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, reachPatience, fmt.Errorf("no answer in %s", reachPatience))
	defer cancel()
	to := JoinPort(address, port)
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("connect to %s: %w", to, context.Cause(ctx))
		}
		return fmt.Errorf("connect to %s: %w", to, bare(err))
	}
	return c.Close()
}

// bare takes off what the network's errors say of the address, which is said already.
func bare(err error) error {
	if e, ok := err.(*net.OpError); ok { //nolint:errorlint // only the outermost is taken off
		return e.Err
	}
	return err
}

// JoinPort adds a port to an address that has none: a name, an IPv4 or an IPv6 address.
func JoinPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}
