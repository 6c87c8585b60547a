// Package appliancetest has what tests of pveam need: a server that offers templates, and a
// key that signs its lists.
package appliancetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// A Key signs lists.
type Key struct{ home string }

// patience is how long gpg may take for anything.
const patience = 60 * time.Second

// NewKey makes a key. It skips the test where there is no gpg.
func NewKey(t testing.TB) *Key {
	t.Helper()
	for _, program := range []string{"gpg", "gpgv", "gpgconf"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s on this machine", program)
		}
	}
	home, err := os.MkdirTemp("", "vs") // short, for the socket of the agent
	if err != nil {
		t.Fatal(err)
	}
	k := &Key{home}
	t.Cleanup(func() {
		// The agent that gpg has started goes with its folder, but not at once.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = exec.CommandContext(ctx, "gpgconf", "--homedir", home, "--kill", "all").Run()
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	// Long ago, so that there can be signatures that have expired.
	k.gpg(t, nil, "--faked-system-time", "20240101T000000", "--quick-generate-key", "templates@example.org", "ed25519", "sign", "never")
	return k
}

func (k *Key) gpg(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args = append([]string{"--homedir", k.home, "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)
	cmd := exec.CommandContext(ctx, "gpg", args...)
	cmd.WaitDelay = time.Second // the agent may hold its streams
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("gpg %q: %v: %s", args, err, errs.String())
	}
	return out.Bytes()
}

// Sign returns the signature of data, as text.
func (k *Key) Sign(t testing.TB, data []byte, options ...string) []byte {
	t.Helper()
	return k.gpg(t, data, append(options, "--armor", "--detach-sign")...)
}

// Public returns the public key, as gpgv reads it.
func (k *Key) Public(t testing.TB) []byte { t.Helper(); return k.gpg(t, nil, "--export") }

// PublicText is [Key.Public] as text.
func (k *Key) PublicText(t testing.TB) []byte {
	t.Helper()
	return k.gpg(t, nil, "--export", "--armor")
}

// A Server offers files.
type Server struct {
	URL string

	mu    sync.Mutex
	files map[string]http.HandlerFunc
	asked map[string]int
}

// NewServer starts a server without files.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{files: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	web := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	s.URL = web.URL
	return s
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	handle := s.files[r.URL.Path]
	s.mu.Unlock()
	if handle == nil {
		http.NotFound(w, r)
		return
	}
	handle(w, r)
}

// Asked tells how often a file was asked for.
func (s *Server) Asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// Handle answers for a path.
func (s *Server) Handle(path string, handle http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = handle
}

// File offers a file.
func (s *Server) File(path string, data []byte) {
	s.Handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data)
	})
}

// Stuck offers a file that never comes to its end. The returned channel is closed when the
// first bytes are sent.
func (s *Server) Stuck(path string, first []byte, length int) <-chan struct{} {
	begun := make(chan struct{})
	var once sync.Once
	s.Handle(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(length))
		_, _ = w.Write(first)
		_ = http.NewResponseController(w).Flush()
		once.Do(func() { close(begun) })
		<-r.Context().Done()
	})
	return begun
}

// List offers a list at path.gz, signed at path.asc.
func (s *Server) List(t testing.TB, k *Key, path, list string) {
	t.Helper()
	s.File(path+".gz", Pack([]byte(list)))
	s.File(path+".asc", k.Sign(t, []byte(list)))
}

// Pack compresses data.
func Pack(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// Paragraph is what a list says of a template with the given content.
func Paragraph(name, section, location string, data []byte) string {
	return fmt.Sprintf(`Package: %s
Version: 1.0-1
Type: lxc
OS: debian-12
Section: %s
Maintainer: Nobody <nobody@example.org>
Architecture: amd64
Location: %s
sha512sum: %x
Infopage: https://example.org/%s
Description: A template for tests
 It has nothing
 in it.

`, name, section, location, sha512.Sum512(data), name)
}
