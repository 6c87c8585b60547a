package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// An Error says what could not be loaded, from where, why, and what to do next.
type Error struct {
	URL    string // without a password
	Status int    // of the answer, where there was one other than 200
	Why    string
	Next   string // may be empty
	Cause  error
}

// Error reads like "download http://host/file: cannot find the address of host; check …".
func (e *Error) Error() string {
	text := "download " + e.URL + ": " + e.Why
	if e.Next != "" {
		text += "; " + e.Next
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// statusError is an answer that is not the file.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", int(e), http.StatusText(int(e)))
}

// failure words why a file could not be loaded.
func (c *Client) failure(ctx context.Context, u *url.URL, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // its text repeats the address
	}
	e := &Error{URL: u.Redacted(), Cause: err, Why: err.Error()}
	if ctx.Err() != nil {
		e.Cause = context.Cause(ctx)
		e.Why = e.Cause.Error()
		return e
	}
	host, viaProxy := u.Hostname(), false
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		if p, err := parse(c.Proxy); err == nil {
			host, viaProxy = "the proxy "+p.Host, true
		}
	}
	e.Next = c.network()
	dns, noName := errors.AsType[*net.DNSError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	status, answered := errors.AsType[statusError](err)
	var timeout interface{ Timeout() bool }
	switch {
	case answered:
		e.Status, e.Next = int(status), ""
		if e.Status == http.StatusProxyAuthRequired {
			e.Next = c.network()
		}
	case errors.Is(err, errCircle), errors.Is(err, errInsecure), errors.Is(err, ErrTooLarge), errors.Is(err, ErrMismatch):
		e.Next = ""
	case untrusted:
		e.Why = "the certificate of " + host + " cannot be trusted: " + err.Error()
		e.Next = "check the clock of this node, and that the package ca-certificates is there"
	case noName && dns.IsNotFound:
		e.Why = "there is no address for " + nameOf(dns, host)
	case noName:
		e.Why = "cannot find the address of " + nameOf(dns, host) + ": no answer from the name service"
	case errors.Is(err, errStalled):
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Why = "no answer from " + host
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Why = host + " refuses the connection"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		e.Why = "there is no way to " + host
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		e.Why = host + " ended the connection too early"
		e.Next = "try again"
	case viaProxy:
		e.Why = host + ": " + err.Error()
	}
	return e
}

func nameOf(e *net.DNSError, host string) string {
	if e.Name != "" {
		return e.Name
	}
	return host
}

// network says what to look at where the network does not do.
func (c *Client) network() string {
	if c.Proxy != "" {
		return "check http_proxy in datacenter.cfg, and the network of this node"
	}
	return "check the network and the name service of this node, or set http_proxy in datacenter.cfg"
}
