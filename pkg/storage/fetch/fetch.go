// Package fetch loads files from web servers: small ones into memory, large ones to where
// they are to lie, with their checksum.
//
// Nothing here waits without bound, and nothing a server says is believed: how much it may
// send, where it may send us on to, and how long it may be silent are limited. It does not
// know what is loaded, nor for which storage.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// A Client loads files. The zero value is ready.
type Client struct {
	// Proxy is the address of the HTTP proxy, as http://user:password@host:port; empty for
	// none. It is used for HTTPS as well.
	Proxy string
	// Insecure takes any certificate of a server, which is for who asked for that.
	Insecure bool
	// Roots are whom certificates are believed from; nil means those of the machine.
	Roots *x509.CertPool
	// Connect, Answer and Stall are how long the server may take to be reached, to begin its
	// answer, and to send the next bytes; 0 means the usual.
	Connect, Answer, Stall time.Duration
}

// What is usual.
const (
	usualConnect = 20 * time.Second
	usualAnswer  = 60 * time.Second
	usualStall   = 60 * time.Second

	maxRedirects = 5
	maxHeader    = 64 << 10
	// smallPatience is how long a small file may take in all.
	smallPatience = 5 * time.Minute
)

// What went wrong, where callers branch on it.
var (
	// ErrTooLarge is the error of a file that is larger than is wanted.
	ErrTooLarge = errors.New("more data than is taken")
	// ErrMismatch is the error of a file that has another checksum.
	ErrMismatch = errors.New("checksum mismatch")

	errStalled  = errors.New("the server sends nothing any more")
	errCircle   = errors.New("the server sends us on and on")
	errInsecure = errors.New("the server sends us from HTTPS on to HTTP")
)

// Check tells whether text is an address that files can be loaded from.
func Check(text string) error {
	_, err := parse(text)
	return err
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("that is no URL") // its text may hold a password
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%s: only http and https are taken", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s: there is no host in it", u.Redacted())
	}
	u.Fragment = ""
	return u, nil
}

// Get returns a file of at most limit bytes.
func (c *Client) Get(ctx context.Context, address string, limit int64) ([]byte, error) {
	u, err := parse(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, smallPatience, errStalled)
	defer cancel()
	a, err := c.open(ctx, u)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	data, err := io.ReadAll(io.LimitReader(a, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: %d bytes are the most", ErrTooLarge, limit)
	}
	if err != nil {
		return nil, c.failure(ctx, u, err)
	}
	return data, nil
}

// An answer is what a server sends. Reading it fails when nothing comes for too long.
type answer struct {
	body   io.ReadCloser
	length int64           // -1 where the server does not tell
	ctx    context.Context //nolint:containedctx // to tell the cause of a failed read
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func (a *answer) Read(p []byte) (int, error) {
	a.timer.Reset(a.stall)
	n, err := a.body.Read(p)
	a.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && a.ctx.Err() != nil {
		err = context.Cause(a.ctx)
	}
	return n, err
}

func (a *answer) Close() error {
	a.timer.Stop()
	a.cancel(nil)
	return a.body.Close()
}

// open asks for a file. Any answer but 200 is an error.
func (c *Client) open(ctx context.Context, u *url.URL) (*answer, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(inner, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set("User-Agent", "virtsmith")
	res, err := client.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		err = statusError(res.StatusCode)
	}
	if err != nil {
		err = c.failure(ctx, u, err)
		cancel(nil)
		return nil, err
	}
	stall := or(c.Stall, usualStall)
	timer := time.AfterFunc(stall, func() { cancel(fmt.Errorf("%w: for %v now", errStalled, stall)) })
	timer.Stop()
	return &answer{res.Body, res.ContentLength, inner, cancel, timer, stall}, nil
}

func (c *Client) client() (*http.Client, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: or(c.Connect, usualConnect)}).DialContext,
		TLSHandshakeTimeout: or(c.Connect, usualConnect), ResponseHeaderTimeout: or(c.Answer, usualAnswer),
		TLSClientConfig: &tls.Config{RootCAs: c.Roots, InsecureSkipVerify: c.Insecure, MinVersion: tls.VersionTLS12},
		// What is compressed is wanted as it is, with its checksum.
		DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader, ForceAttemptHTTP2: true,
	}
	if c.Proxy != "" {
		proxy, err := parse(c.Proxy)
		if err != nil {
			return nil, fmt.Errorf("http_proxy of datacenter.cfg: %w", err)
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{Transport: t, CheckRedirect: follow}, nil
}

// follow decides whether we go where a server sends us.
func follow(next *http.Request, before []*http.Request) error {
	if len(before) > maxRedirects {
		return errCircle
	}
	if before[len(before)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return errInsecure
	}
	_, err := parse(next.URL.String())
	return err
}

func or(d, usual time.Duration) time.Duration {
	if d == 0 {
		return usual
	}
	return d
}
