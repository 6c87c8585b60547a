package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

func serve(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func sum(data string) fetch.Checksum {
	h := sha512.Sum512([]byte(data))
	return fetch.Checksum{Algorithm: "sha512", Hex: hex.EncodeToString(h[:])}
}

// files lists what is in a folder, hidden files included.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func stuck(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func TestFailures(t *testing.T) {
	quick := fetch.Client{Connect: 5 * time.Second, Answer: 200 * time.Millisecond, Stall: 200 * time.Millisecond}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		url    string
		client fetch.Client
		want   string
	}{
		"refused":       {url: nobody + "/x", want: "download " + nobody + "/x: 127.0.0.1 refuses the connection; check the network and the name service of this node, or set http_proxy in datacenter.cfg"},
		"refused proxy": {url: "http://a.example.org/x", client: fetch.Client{Proxy: strings.Replace(nobody, "//", "//u:geheim@", 1)}, want: "the proxy 127.0.0.1:"},
		"bad proxy":     {url: "http://a.example.org/x", client: fetch.Client{Proxy: "ftp://x"}, want: "http_proxy of datacenter.cfg: ftp://x: only http and https are taken"},
		"no name":       {url: "http://nowhere.invalid/x", want: "nowhere.invalid"},
		"other scheme":  {url: "file:///etc/passwd", want: "only http and https are taken"},
		"password":      {url: strings.Replace(nobody, "//", "//u:geheim@", 1) + "/x", want: "u:xxxxx@127.0.0.1"},
		"404":           {handle: http.NotFound, want: "the server answers 404 Not Found"},
		"silent":        {handle: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, client: quick, want: "no answer from 127.0.0.1"},
		"stalled":       {handle: stuck, client: quick, want: "the server sends nothing any more: for 200ms now"},
		"circle":        {handle: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, want: "the server sends us on and on"},
		"to a file": {handle: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, want: "only http and https are taken"},
		"too large": {handle: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 5000)) }, want: "more data than is taken: "},
		"too large, not told": {handle: func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(make([]byte, 5000))
		}, want: "more data than is taken: "},
		"cut off": {handle: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(make([]byte, 10))
			panic(http.ErrAbortHandler)
		}, want: "127.0.0.1 ended the connection too early; try again"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.handle != nil {
				c.url = serve(t, c.handle).URL + "/x"
			}
			dir := t.TempDir()
			_, small := c.client.Get(t.Context(), c.url, 4000)
			large := c.client.File(t.Context(), fetch.Request{URL: c.url, To: filepath.Join(dir, "x"), Limit: 4000})
			for _, err := range []error{small, large} {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
					t.Errorf("%v, want %q", err, c.want)
				}
			}
			if left := files(t, dir); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	hello := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, "http://"+r.Host+"/x", http.StatusFound)
			return
		}
		hello(w, r)
	}))
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := new(fetch.Client).Get(t.Context(), s.URL, 100)
	if err == nil || !strings.Contains(err.Error(), "the certificate of 127.0.0.1 cannot be trusted") {
		t.Error(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for name, c := range map[string]fetch.Client{"insecure": {Insecure: true}, "known": {Roots: roots}} {
		if text, err := c.Get(t.Context(), s.URL, 100); err != nil || string(text) != "hello" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	c := fetch.Client{Roots: roots}
	if _, err := c.Get(t.Context(), s.URL+"/down", 100); err == nil || !strings.Contains(err.Error(), "from HTTPS on to HTTP") {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	const data = "what is wanted"
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/on" {
			http.Redirect(w, r, "/x", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, data)
	})
	md5 := fetch.Checksum{Algorithm: "md5", Hex: "19B1A5F80D3D4BD8C5B1D2CF0C9F4A57"}
	for name, c := range map[string]struct {
		before string // empty: nothing is there
		r      fetch.Request
		want   string // what is said at the end
		holds  string
	}{
		"new":                       {r: fetch.Request{Sum: sum(data)}, want: "finished\n", holds: data},
		"new, without a checksum":   {r: fetch.Request{}, want: "finished\n", holds: data},
		"sent on":                   {r: fetch.Request{URL: s.URL + "/on", Sum: sum(data)}, want: "finished\n", holds: data},
		"there":                     {before: data, r: fetch.Request{Sum: sum(data)}, want: "OK, got correct file already, no need to download\n", holds: data},
		"there, another":            {before: "old", r: fetch.Request{Sum: sum(data)}, want: "', aborting", holds: "old"},
		"there, no checksum":        {before: "old", r: fetch.Request{}, want: "refusing to override existing file '", holds: "old"},
		"replaced":                  {before: "old", r: fetch.Request{Sum: sum(data), Replace: true}, want: "finished\n", holds: data},
		"replaced blindly":          {before: "old", r: fetch.Request{Replace: true}, want: "finished\n", holds: data},
		"wrong":                     {r: fetch.Request{Sum: sum("x")}, want: "checksum mismatch: got '" + sum(data).Hex + "' != expect '" + sum("x").Hex + "'"},
		"wrong, of capitals":        {r: fetch.Request{Sum: md5}, want: "' != expect '19b1a5f80d3d4bd8c5b1d2cf0c9f4a57'"},
		"wrong in place of another": {before: "old", r: fetch.Request{Sum: sum("x"), Replace: true}, want: "checksum mismatch", holds: "old"},
		"no checksum at all":        {r: fetch.Request{Sum: fetch.Checksum{Algorithm: "md5", Hex: "12"}}, want: `"12" is no checksum of md5`},
		"unknown checksum":          {r: fetch.Request{Sum: fetch.Checksum{Algorithm: "crc", Hex: "12"}}, want: "unknown checksum algorithm 'crc'"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.r.To = filepath.Join(dir, "f.tar.gz")
			if c.r.URL == "" {
				c.r.URL = s.URL + "/x"
			}
			// What a kill has left is taken over.
			if err := os.WriteFile(filepath.Join(dir, ".f.tar.gz.tmp"), []byte("much more than is wanted"), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.before != "" {
				if err := os.WriteFile(c.r.To, []byte(c.before), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			err := new(fetch.Client).File(api.WithStreams(t.Context(), api.Streams{Out: &out, Err: &out}), c.r)
			text := out.String()
			if err != nil {
				text += err.Error()
			}
			if !strings.HasSuffix(text, c.want) && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("want %q at the end of:\n%s", c.want, text)
			}
			got, _ := os.ReadFile(c.r.To)
			if string(got) != c.holds {
				t.Errorf("it holds %q", got)
			}
			if strings.HasSuffix(c.want, "finished\n") {
				st, err := os.Stat(c.r.To)
				if files(t, dir) != "f.tar.gz" || err != nil || st.Mode().Perm() != 0o644 {
					t.Errorf("%s, %v, %v", files(t, dir), st.Mode(), err)
				}
			}
		})
	}
}

func TestFileIsInterrupted(t *testing.T) {
	begun := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 1000))
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-r.Context().Done()
	})
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	done := make(chan error)
	go func() {
		done <- new(fetch.Client).File(ctx, fetch.Request{URL: s.URL, To: filepath.Join(dir, "x")})
	}()
	<-begun
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Error(err)
	}
	if left := files(t, dir); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestFileOfManyAtOnce(t *testing.T) {
	const data = "only once"
	asked := 0
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		time.Sleep(50 * time.Millisecond)
		_, _ = io.WriteString(w, data)
	})
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if err := new(fetch.Client).File(t.Context(), fetch.Request{URL: s.URL, To: filepath.Join(dir, "x"), Sum: sum(data)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if asked != 1 || files(t, dir) != "x" {
		t.Errorf("asked for %d times, left: %s", asked, files(t, dir))
	}
}

func TestFileDry(t *testing.T) {
	dir := t.TempDir()
	var steps bytes.Buffer
	to := filepath.Join(dir, "x")
	err := new(fetch.Client).File(plan.With(t.Context(), plan.New(&steps)), fetch.Request{URL: "http://u:p@h.invalid/x", To: to})
	if want := "download http://u:xxxxx@h.invalid/x to " + to + "\n"; err != nil || steps.String() != want || files(t, dir) != "" {
		t.Errorf("%v, %q", err, steps.String())
	}
}

func TestFileWithoutRoom(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(int64(1)<<50))
		_, _ = w.Write(make([]byte, 10))
	})
	dir := t.TempDir()
	err := new(fetch.Client).File(t.Context(), fetch.Request{URL: s.URL, To: filepath.Join(dir, "x"), Limit: 1 << 60})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "1.00 PiB are needed") || files(t, dir) != "" {
		t.Errorf("%v, left: %s", err, files(t, dir))
	}
}

func TestFileInPlaceOfAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := new(fetch.Client).File(t.Context(), fetch.Request{URL: "http://h.invalid/x", To: filepath.Join(dir, "x"), Replace: true})
	if err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Error(err)
	}
}

func TestFileDoesNotFollowALink(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") })
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, filepath.Join(dir, ".x.tmp"))); err != nil {
		t.Fatal(err)
	}
	err := new(fetch.Client).File(t.Context(), fetch.Request{URL: s.URL, To: filepath.Join(dir, "x")})
	if text, _ := os.ReadFile(victim); err == nil || string(text) != "mine" {
		t.Errorf("%v, %q", err, text)
	}
}
