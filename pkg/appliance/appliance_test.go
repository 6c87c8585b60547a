package appliance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/appliance"
	"github.com/virtsmith/virtsmith/pkg/appliance/appliancetest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	storagetypes "github.com/virtsmith/virtsmith/pkg/storage/all"
	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

const storageConfig = `dir: local
	path %[1]s/var/lib/vz
	content vztmpl,iso

dir: images
	path %[1]s/images
	content images

lvm: volumes
	vgname nowhere
	content images

dir: elsewhere
	path %[1]s/elsewhere
	content vztmpl
	nodes other

dir: off
	path %[1]s/off
	content vztmpl
	disable
`

// A world is a node with a server that offers a list.
type world struct {
	*appliance.Service
	root   string
	server *appliancetest.Server
	out    *bytes.Buffer
	ctx    context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{root: t.TempDir(), server: appliancetest.NewServer(t), out: &bytes.Buffer{}}
	w.Service = &appliance.Service{
		Root: w.root, Runner: run.Host{}, Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
		Storage: storage.New(storage.Options{
			Root: w.root, Node: "pve1", Runner: run.Host{}, Types: storagetypes.Types(),
			Config: func(context.Context) (string, error) { return fmt.Sprintf(storageConfig, w.root), nil },
		}),
	}
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: w.out, Err: w.out})
	return w
}

func (w *world) write(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(w.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *world) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.root, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// sources says where the lists are.
func (w *world) sources(t *testing.T, paths ...string) {
	t.Helper()
	text := ""
	for _, path := range paths {
		text += w.server.URL + path + "\n"
	}
	w.write(t, "etc/virtsmith/appliance-sources", []byte(text))
}

const kept = "var/lib/pve-manager/apl-info/127.0.0.1"

// said checks an error, and what was told.
func said(t *testing.T, err error, out string, want ...string) {
	t.Helper()
	text := out
	if err != nil {
		text += err.Error()
	}
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not said:\n%s", part, text)
		}
	}
}

func TestUpdate(t *testing.T) {
	key, stranger := appliancetest.NewKey(t), appliancetest.NewKey(t)
	list := appliancetest.Paragraph("debian-12-standard", "system", "system/debian-12-standard_12.1-1_amd64.tar.zst", nil)
	cases := map[string]struct {
		offer func(*testing.T, *appliancetest.Server)
		keys  []byte
		want  string // empty: it goes well
	}{
		"good":                       {keys: key.Public(t)},
		"good, keys as text":         {keys: key.PublicText(t)},
		"good, several keys as text": {keys: append(stranger.PublicText(t), key.PublicText(t)...)},
		"signed twice, one key unknown": {keys: key.Public(t), offer: func(t *testing.T, s *appliancetest.Server) {
			s.File("/pve/list.asc", append(stranger.Sign(t, []byte(list)), key.Sign(t, []byte(list))...))
		}},
		"signed by another": {keys: stranger.Public(t), want: "bad signature: its key "},
		"changed": {keys: key.Public(t), want: "bad signature: what is signed is something else", offer: func(_ *testing.T, s *appliancetest.Server) {
			s.File("/pve/list.gz", appliancetest.Pack([]byte(strings.ReplaceAll(list, "12.1-1", "12.1-2"))))
		}},
		"no signature":         {keys: key.Public(t), want: "the server answers 404 Not Found", offer: func(_ *testing.T, s *appliancetest.Server) { s.Handle("/pve/list.asc", nil) }},
		"signature of nothing": {keys: key.Public(t), want: "bad signature", offer: func(_ *testing.T, s *appliancetest.Server) { s.File("/pve/list.asc", []byte("\n")) }},
		"expired signature": {keys: key.Public(t), want: "bad signature: it has expired", offer: func(t *testing.T, s *appliancetest.Server) {
			s.File("/pve/list.asc", key.Sign(t, []byte(list), "--faked-system-time", "20250101T000000", "--default-sig-expire", "1d"))
		}},
		"no list":    {keys: key.Public(t), want: "404", offer: func(_ *testing.T, s *appliancetest.Server) { s.Handle("/pve/list.gz", nil) }},
		"not packed": {keys: key.Public(t), want: "unable to unpack", offer: func(_ *testing.T, s *appliancetest.Server) { s.File("/pve/list.gz", []byte(list)) }},
		"bomb": {keys: key.Public(t), want: "more data than is taken", offer: func(_ *testing.T, s *appliancetest.Server) {
			s.File("/pve/list.gz", appliancetest.Pack(make([]byte, 33<<20)))
		}},
		"too large":   {keys: key.Public(t), want: "more data than is taken", offer: func(_ *testing.T, s *appliancetest.Server) { s.File("/pve/list.asc", make([]byte, 65<<10)) }},
		"no keyring":  {want: "there is no key to check the signature with: put the public key of 127.0.0.1 into "},
		"no keys":     {keys: []byte("nothing"), want: "bad signature"},
		"broken text": {keys: []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n???\n"), want: "the text of the keys is damaged"},
		"signed nonsense": {keys: key.Public(t), want: "line 1: unable to parse appliance record: there is no package", offer: func(t *testing.T, s *appliancetest.Server) {
			s.List(t, key, "/pve/list", "Bogus: yes\n")
		}},
		"signed, but leads out": {keys: key.Public(t), want: "unable to parse appliance record: location = '../../x.tar.gz'", offer: func(t *testing.T, s *appliancetest.Server) {
			s.List(t, key, "/pve/list", appliancetest.Paragraph("x", "system", "../../x.tar.gz", nil))
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.sources(t, "/pve/list")
			w.write(t, kept, []byte("old"))
			if c.keys != nil {
				w.write(t, "usr/share/doc/pve-manager/trustedkeys.gpg", c.keys)
			}
			w.server.List(t, key, "/pve/list", list)
			if c.offer != nil {
				c.offer(t, w.server)
			}
			err := w.Update(w.ctx)
			got, log := w.read(t, kept), w.read(t, "var/log/pveam.log")
			if c.want == "" {
				if err != nil || got != list {
					t.Errorf("%v\n%s\n%s", err, w.out, got)
				}
				said(t, nil, log, "2026-01-02 03:04:05 starting update\n", "start download "+w.server.URL+"/pve/list.gz\n", "signature verification: ", "update successful\n")
				return
			}
			if err == nil || got != "old" {
				t.Errorf("%v, the list is %q", err, got)
			}
			said(t, err, w.out.String(), c.want, "127.0.0.1: ", "update failed - see "+w.root+"/var/log/pveam.log for details")
			said(t, nil, log, c.want)
			if names, _ := filepath.Glob(filepath.Join(w.root, "var/lib/pve-manager/apl-info/*")); len(names) != 1 {
				t.Errorf("left: %q", names)
			}
		})
	}
}

func TestUpdateGoesOnToTheOthers(t *testing.T) {
	key := appliancetest.NewKey(t)
	w := newWorld(t)
	list := appliancetest.Paragraph("a", "system", "a.tar.gz", nil)
	w.server.List(t, key, "/pve/list", list)
	w.write(t, "etc/virtsmith/appliance-keyring.gpg", key.Public(t))
	dead := appliancetest.NewServer(t)
	w.write(t, "etc/virtsmith/appliance-sources", []byte("# ours\n"+strings.Replace(dead.URL, "127.0.0.1", "localhost", 1)+"/x/list # down\n"+w.server.URL+"/pve/list\n"))
	if err := w.Update(w.ctx); err == nil || w.read(t, kept) != list {
		t.Errorf("%v: %s", err, w.out)
	}
	all, err := w.Available(w.ctx)
	if err != nil || len(all) != 1 || all[0].Location != w.server.URL+"/pve/a.tar.gz" {
		t.Errorf("%v: %+v", err, all)
	}
	// A keyring of its own counts for a source, and no other.
	w.write(t, "etc/virtsmith/appliance-sources", []byte(w.server.URL+"/pve/list /etc/other.gpg\n"))
	said(t, w.Update(w.ctx), w.out.String(), "put the public key of 127.0.0.1 into "+w.root+"/etc/other.gpg")
}

func TestUpdateWithoutGPGV(t *testing.T) {
	key := appliancetest.NewKey(t)
	w := newWorld(t)
	w.Runner = run.NewFake(run.Exchange{Args: []string{"gpgv", "--homedir", "/nonexistent", "--status-fd", "1", "--keyring", "/proc/self/fd/4", "/proc/self/fd/3", "-"}, Missing: true})
	w.sources(t, "/pve/list")
	w.server.List(t, key, "/pve/list", appliancetest.Paragraph("a", "system", "a.tar.gz", nil))
	w.write(t, "etc/virtsmith/appliance-keyring.gpg", key.Public(t))
	said(t, w.Update(w.ctx), w.out.String(), "unable to verify signature - gpgv: program not found, is its package installed?")
}

func TestUpdateDry(t *testing.T) {
	w := newWorld(t)
	w.sources(t, "/pve/list")
	var steps bytes.Buffer
	if err := w.Update(plan.With(w.ctx, plan.New(&steps))); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("download %s/pve/list.gz and its signature to %s/%s\n", w.server.URL, w.root, kept)
	if diff := cmp.Diff(want, steps.String()); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(w.root, "var")); err == nil || w.server.Asked("/pve/list.gz") != 0 {
		t.Error("something was done")
	}
}

func TestLogIsPutAside(t *testing.T) {
	w := newWorld(t)
	w.sources(t)
	w.write(t, "var/log/pveam.log", make([]byte, 257<<10))
	if err := w.Update(w.ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.read(t, "var/log/pveam.log"); got != "2026-01-02 03:04:05 starting update\n" || len(w.read(t, "var/log/pveam.log.0")) != 257<<10 {
		t.Errorf("the log is %q", got)
	}
}

func TestDownload(t *testing.T) {
	data := []byte("a template, for those who believe it")
	const name, dir = "debian-12-standard_12.1-1_amd64.tar.zst", "var/lib/vz/template/cache/"
	cases := map[string]struct {
		storage string
		offer   func(*world)
		want    string // empty: it goes well
	}{
		"good":          {storage: "local"},
		"unknown":       {storage: "nowhere", want: "storage 'nowhere' does not exist"},
		"disabled":      {storage: "off", want: "storage 'off' is disabled"},
		"another node":  {storage: "elsewhere", want: "storage 'elsewhere' is not available on node 'pve1'"},
		"not for that":  {storage: "images", want: "storage 'images' does not support templates"},
		"no folder":     {storage: "volumes", want: "storage 'volumes' does not support templates"},
		"other content": {storage: "local", want: "checksum mismatch: got '", offer: func(w *world) { w.server.File("/pve/system/"+name, []byte("another")) }},
		"gone": {storage: "local", want: "404 Not Found; the list may be older than what the server has: run 'pveam update'", offer: func(w *world) {
			w.server.Handle("/pve/system/"+name, nil)
		}},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			w := newWorld(t)
			w.sources(t, "/pve/list")
			w.write(t, kept, []byte(appliancetest.Paragraph("debian-12-standard", "system", "system/"+name, data)))
			w.server.File("/pve/system/"+name, data)
			if c.offer != nil {
				c.offer(w)
			}
			err := w.Check(w.ctx, id.Storage(c.storage), name)
			if err == nil {
				err = w.Download(w.ctx, id.Storage(c.storage), name)
			}
			names, _ := filepath.Glob(filepath.Join(w.root, dir, "*"))
			hidden, _ := filepath.Glob(filepath.Join(w.root, dir, ".*"))
			if c.want != "" {
				if err == nil || len(names)+len(hidden) > 0 {
					t.Errorf("%v, left: %q %q", err, names, hidden)
				}
				said(t, err, "", c.want)
				return
			}
			if err != nil || w.read(t, dir+name) != string(data) || len(names) != 1 || len(hidden) != 0 {
				t.Fatalf("%v: %q %q\n%s", err, names, hidden, w.out)
			}
			path, from := filepath.Join(w.root, dir, name), w.server.URL+"/pve/system/"+name
			said(t, nil, w.out.String(), "downloading "+from+" to "+path+"\n", "calculating checksum...OK, checksum verified\n", "download of '"+from+"' to '"+path+"' finished\n")
			if err := w.Download(w.ctx, "local", name); err != nil || w.server.Asked("/pve/system/"+name) != 1 {
				t.Errorf("%v, it was asked for %d times", err, w.server.Asked("/pve/system/"+name))
			}
			said(t, nil, w.out.String(), "calculating checksum of existing file...OK, got correct file already, no need to download\n")
			w.write(t, dir+name, []byte("mine"))
			err = w.Download(w.ctx, "local", name)
			said(t, err, "", "checksum mismatch: got '", ", aborting")
			if w.read(t, dir+name) != "mine" {
				t.Error("the user's own file was replaced")
			}
		})
	}
}

func TestDownloadNeedsAChecksum(t *testing.T) {
	w := newWorld(t)
	w.sources(t, "/pve/list")
	text := appliancetest.Paragraph("a", "system", "a.tar.gz", nil)
	from := strings.Index(text, "sha512sum")
	w.write(t, kept, []byte(text[:from]+text[from+strings.Index(text[from:], "\n")+1:]))
	said(t, w.Download(w.ctx, "local", "a.tar.gz"), "", "has no checksum of 'a.tar.gz'")
	if err := w.Check(w.ctx, "local", "b.tar.gz"); !errors.Is(err, appliance.ErrUnknown) {
		t.Error(err)
	}
}

func TestDownloadThroughTheProxy(t *testing.T) {
	w := newWorld(t)
	data := []byte("by way of another")
	w.write(t, "etc/virtsmith/appliance-sources", []byte("http://far.example.org/pve/list\n"))
	w.write(t, "var/lib/pve-manager/apl-info/far.example.org", []byte(appliancetest.Paragraph("a", "system", "a.tar.gz", data)))
	w.server.Handle("/pve/a.tar.gz", func(out http.ResponseWriter, r *http.Request) {
		if r.Host == "far.example.org" && r.Header.Get("Proxy-Authorization") != "" {
			_, _ = out.Write(data)
		}
	})
	w.Proxy = func(context.Context) (string, error) {
		return strings.Replace(w.server.URL, "http://", "http://me:geheim@", 1), nil
	}
	if err := w.Download(w.ctx, "local", "a.tar.gz"); err != nil {
		t.Error(err)
	}
	w.Proxy = func(context.Context) (string, error) { return "http://me:geheim@127.0.0.1:1", nil }
	err := w.Download(w.ctx, "local", "a.tar.gz")
	said(t, err, w.out.String(), "got correct file already")
	w.sources(t, "/pve/list")
	w.write(t, "etc/virtsmith/appliance-keyring.gpg", []byte("x"))
	err = w.Update(w.ctx)
	said(t, err, w.out.String(), "the proxy 127.0.0.1:1 refuses the connection; check http_proxy in datacenter.cfg")
	if text := err.Error() + w.out.String(); strings.Contains(text, "geheim") {
		t.Errorf("the password is shown: %s", text)
	}
}

func TestListAndRemove(t *testing.T) {
	w := newWorld(t)
	w.write(t, "var/lib/vz/template/cache/b.tar.gz", make([]byte, 3<<20))
	w.write(t, "var/lib/vz/template/cache/a.tar.zst", []byte("a"))
	w.write(t, "var/lib/vz/template/cache/c.tar", []byte("c"))
	w.write(t, "var/lib/vz/template/cache/.d.tar.gz.tmp", []byte("d"))
	w.write(t, "var/lib/vz/template/iso/x.iso", []byte("x"))
	all, err := w.List(w.ctx, "local")
	var names []string
	for _, v := range all {
		names = append(names, fmt.Sprint(v.Name, " ", v.Size))
	}
	if diff := cmp.Diff([]string{"vztmpl/a.tar.zst 1", "vztmpl/b.tar.gz 3145728", "vztmpl/c.tar 1"}, names); diff != "" || err != nil {
		t.Error(err, diff)
	}
	_, err = w.List(w.ctx, "images")
	said(t, err, "", "Storage does not support templates!")
	for text, want := range map[string]string{
		"local:iso/x.iso":                         "content type needs to be 'vztmpl'",
		"local:vztmpl/../iso/x.iso":               "unable to parse directory volume name",
		"/etc/passwd":                             "'/etc/passwd' is no template of any storage",
		w.root + "/var/lib/vz/template/iso/x.iso": "is no template of any storage",
		"b.tar.gz":                                "unable to parse volume ID",
		"none:vztmpl/b.tar.gz":                    "storage 'none' does not exist",
	} {
		err := w.Remove(w.ctx, text)
		if err == nil {
			t.Errorf("%s is removed", text)
		}
		said(t, err, "", want)
	}
	for _, text := range []string{"local:vztmpl/a.tar.zst", w.root + "/var/lib/vz/template/cache/b.tar.gz"} {
		if err := w.Remove(w.ctx, text); err != nil {
			t.Error(err)
		}
	}
	if all, err = w.List(w.ctx, "local"); len(all) != 1 || err != nil {
		t.Error(err, all)
	}
}

func TestClientOfTheServiceIsItsOwn(t *testing.T) {
	w := newWorld(t)
	w.Client = fetch.Client{Answer: 100 * time.Millisecond}
	w.sources(t, "/pve/list")
	w.write(t, "etc/virtsmith/appliance-keyring.gpg", []byte("x"))
	w.server.Handle("/pve/list.asc", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	said(t, w.Update(w.ctx), w.out.String(), "no answer from 127.0.0.1")
}
