package nfs_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/nfs"
)

// serve serves a storage nas that has the given options.
func serve(t *testing.T, r run.Runner, options ...string) (*storage.Service, string) {
	t.Helper()
	root := t.TempDir()
	text := "nfs: nas\n\tpath " + root + "/mnt/pve/nas\n"
	for _, o := range options {
		text += "\t" + o + "\n"
	}
	return storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: r, Types: []storage.Type{nfs.Type()}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) { return text, nil },
	}), root
}

// refuser is a runner whose mount fails.
type refuser struct {
	ran  []string
	said string
}

func (r *refuser) Run(_ context.Context, c run.Cmd) error {
	r.ran = append(r.ran, c.String())
	return &run.Error{Cmd: c, ExitCode: 32, Stderr: r.said}
}

// speaker answers a call of ONC RPC, the first 12 bytes of it at least.
func speaker(t *testing.T, answer func(call []byte) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			call := make([]byte, 44)
			_, _ = c.Read(call)
			_, _ = c.Write(answer(call))
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func denied(call []byte) []byte {
	return append([]byte{0x80, 0, 0, 20}, append(append([]byte{}, call[4:8]...), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1)...)
}

// TestMount: how it is mounted, and what is said when that fails.
func TestMount(t *testing.T) {
	port := speaker(t, denied) // a server that is there, whatever it says
	for _, c := range []struct{ name, server, options, said, ran, want string }{
		{"options", "127.0.0.1", "port=" + port + ",vers=4.2,soft", "mount.nfs: mount system call failed\n",
			"mount -t nfs 127.0.0.1:/export ${PATH} -o 'port=" + port + ",vers=4.2,soft'", "mount error: mount: exit status 32: mount.nfs: mount system call failed"},
		{"denied", "127.0.0.1", "port=" + port, "mount.nfs: access denied by server while mounting 127.0.0.1:/export\n",
			"mount -t nfs 127.0.0.1:/export ${PATH} -o 'port=" + port + "'", "(does the server export it to this node? see 'pvesm scan nfs')"},
		{"rdma is not asked", "fe80::1", "proto=rdma", "mount: bad option; you might need a /sbin/mount.<type> helper program.\n",
			"mount -t nfs '[fe80::1]:/export' ${PATH} -o 'proto=rdma'", "(is the package nfs-common installed?)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &refuser{said: c.said}
			s, root := serve(t, r, "server "+c.server, "export /export", "options "+c.options)
			err := s.Activate(t.Context(), "nas")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "unable to activate storage 'nas' - ") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			path := root + "/mnt/pve/nas"
			if diff := cmp.Diff([]string{strings.ReplaceAll(c.ran, "${PATH}", path)}, r.ran); diff != "" {
				t.Error(diff)
			}
			if below, _ := filepath.Glob(path + "/*"); len(below) > 0 {
				t.Errorf("made %q on the root file system", below)
			}
		})
	}
}

// TestServerGone: what does not answer is not mounted, and says so in bounded time.
func TestServerGone(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, as a kernel does for a program that hangs
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, hung, _ := net.SplitHostPort(silent.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, refused, _ := net.SplitHostPort(closed.Addr().String())
	_ = closed.Close()
	other := speaker(t, func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n") })
	for name, c := range map[string]struct{ port, want string }{
		"hangs":         {hung, "127.0.0.1:" + hung + ": no answer in 3s"},
		"is off":        {refused, "127.0.0.1:" + refused + ": connect: connection refused"},
		"is no NFS":     {other, "127.0.0.1:" + other + " does not speak ONC RPC"},
		"has no mapper": {"0", "127.0.0.1:111: "},
	} {
		t.Run(name, func(t *testing.T) {
			if c.port == "0" {
				if conn, err := net.Dial("tcp", "127.0.0.1:111"); err == nil {
					_ = conn.Close()
					t.Skip("this machine has a port mapper")
				}
			}
			r := &refuser{}
			s, _ := serve(t, r, "server 127.0.0.1", "export /export", "options vers=3,port="+c.port)
			err := s.Activate(t.Context(), "nas")
			if err == nil || !strings.HasPrefix(err.Error(), "storage 'nas' is not online: server 127.0.0.1: "+c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if len(r.ran) > 0 {
				t.Errorf("ran %q", r.ran)
			}
		})
	}
}

func TestScanFaults(t *testing.T) {
	_, err := nfs.Scan(t.Context(), run.Host{}, "no-such-host.invalid")
	if err == nil || err.Error() != "unable to resolve address for server 'no-such-host.invalid'" {
		t.Errorf("got %v", err)
	}
	_, err = nfs.Scan(t.Context(), &refuser{said: "clnt_create: RPC: Program not registered\n"}, "127.0.0.1")
	if _, ok := errors.AsType[*run.Error](err); !ok || !strings.Contains(err.Error(), "version 4 alone") {
		t.Errorf("got %v", err)
	}
}

func TestParseExports(t *testing.T) {
	raw, err := os.ReadFile("testdata/showmount.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := []nfs.Export{
		{Path: "/export/all", Options: "*"},
		{Path: "/export/my disks", Options: "192.0.2.0/24,fe80::/64"},
		{Path: "/export/none", Options: "(everyone)"},
		{Path: "/export/twice", Options: "10.0.0.2"},
	}
	if diff := cmp.Diff(want, nfs.ParseExports(string(raw))); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseExports(f *testing.F) {
	f.Add("/export/all *\n/b 10.0.0.1\n")
	f.Fuzz(func(t *testing.T, out string) {
		last := ""
		for i, e := range nfs.ParseExports(out) {
			if !strings.HasPrefix(e.Path, "/") || e.Options == "" || i > 0 && e.Path <= last {
				t.Errorf("%+v", e)
			}
			last = e.Path
		}
	})
}
