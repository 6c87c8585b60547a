package cifs_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/cifs"
)

// serve serves a storage smb that has the given options.
func serve(t *testing.T, r run.Runner, options ...string) (*storage.Service, string) {
	t.Helper()
	root := t.TempDir()
	text := "cifs: smb\n\tpath " + root + "/mnt/pve/smb\n"
	for _, o := range options {
		text += "\t" + o + "\n"
	}
	return storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: r, Types: []storage.Type{cifs.Type()}, QEMUImg: "qemu-img",
		Secrets: storage.SecretDir(root + "/etc/pve/priv"),
		Config:  func(context.Context) (string, error) { return text, nil },
	}), root
}

// refuser is a runner whose mount fails.
type refuser struct {
	ran  []string
	env  []string
	out  string
	said string
}

func (r *refuser) Run(_ context.Context, c run.Cmd) error {
	r.ran, r.env = append(r.ran, c.String()), append(r.env, c.Env...)
	if c.Stdout != nil {
		_, _ = c.Stdout.Write([]byte(r.out))
	}
	if c.Stderr != nil {
		_, _ = c.Stderr.Write([]byte(r.said))
	}
	return &run.Error{Cmd: c, ExitCode: 32, Stderr: r.said}
}

// server answers what it is asked with a text, as a server of SMB would.
func server(t *testing.T, answer string) string {
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
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte(answer))
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestMount: how it is mounted, and that the password is not among the arguments.
func TestMount(t *testing.T) {
	port := server(t, "\x00\x00\x00\x50\xfeSMB")
	for _, c := range []struct {
		name     string
		options  []string
		password string
		want     string
	}{
		{"guest", nil, "", "mount -t cifs //127.0.0.1/data ${ROOT}/mnt/pve/smb -o soft -o 'guest,username=guest' -o 'vers=default' -o nobrl -o 'port=${PORT}'"},
		{"no password", []string{"username bob"}, "", "mount -t cifs //127.0.0.1/data ${ROOT}/mnt/pve/smb -o soft -o 'guest,username=guest' -o 'vers=default' -o nobrl -o 'port=${PORT}'"},
		{"user", []string{"username bob", "domain LAB", "smbversion 3.11", "subdir /vm/disks"}, "geheim", "mount -t cifs //127.0.0.1/data/vm/disks ${ROOT}/mnt/pve/smb -o soft" +
			" -o 'username=bob' -o 'credentials=${ROOT}/etc/pve/priv/storage/smb.pw' -o 'domain=LAB' -o 'vers=3.11' -o nobrl -o 'port=${PORT}'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &refuser{said: "mount error(13): Permission denied\n"}
			s, root := serve(t, r, append([]string{"server 127.0.0.1", "share data", "options port=" + port}, c.options...)...)
			p, err := s.Pool(t.Context(), "smb")
			if err != nil {
				t.Fatal(err)
			}
			secrets := map[string]string{}
			if c.password != "" {
				secrets["password"] = c.password
			}
			if err := p.(storage.Configurer).Added(t.Context(), secrets); err != nil {
				t.Fatal(err)
			}
			err = s.Activate(t.Context(), "smb")
			want := "unable to activate storage 'smb' - mount error: mount: exit status 32: mount error(13): Permission denied (the server refuses the user, the password or the share)"
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			cmd := strings.NewReplacer("${ROOT}", root, "${PORT}", port).Replace(c.want)
			if diff := cmp.Diff([]string{cmd}, r.ran); diff != "" {
				t.Error(diff)
			}
			if below, _ := filepath.Glob(root + "/mnt/pve/smb/*"); len(below) > 0 {
				t.Errorf("made %q on the root file system", below)
			}
		})
	}
}

// TestSecret: the password lies in a file of root's alone, and goes with the storage.
func TestSecret(t *testing.T) {
	s, root := serve(t, run.Host{}, "server nas", "share data", "username bob")
	path := root + "/etc/pve/priv/storage/smb.pw"
	p, err := s.Pool(t.Context(), "smb")
	if err != nil {
		t.Fatal(err)
	}
	c := p.(storage.Configurer)
	check := func(err error, want string) {
		t.Helper()
		text, _ := os.ReadFile(path)
		if err != nil || string(text) != want {
			t.Errorf("%q, %v; want %q", text, err, want)
		}
		if st, err := os.Stat(path); want != "" && (err != nil || st.Mode().Perm() != 0o600) {
			t.Errorf("%v, %v", st.Mode(), err)
		}
	}
	check(c.Added(t.Context(), map[string]string{"password": "geheim"}), "password=geheim\n")
	check(c.Changed(t.Context(), nil), "password=geheim\n")
	check(c.Changed(t.Context(), map[string]*string{"password": new("anders, mit = und ,")}), "password=anders, mit = und ,\n")
	check(c.Changed(t.Context(), map[string]*string{"password": nil}), "")
	check(c.Added(t.Context(), map[string]string{"password": "geheim"}), "password=geheim\n")
	check(c.Added(t.Context(), nil), "") // what one of that name had before
	check(c.Added(t.Context(), map[string]string{"password": "geheim"}), "password=geheim\n")
	check(c.Removed(t.Context()), "")
	check(c.Removed(t.Context()), "")
	if err := c.Added(t.Context(), map[string]string{"password": "a\nusername=root"}); err == nil {
		t.Error("a password of two lines")
	}
}

// TestNoUser: a password without a user is kept, and said to be of no use.
func TestNoUser(t *testing.T) {
	s, _ := serve(t, run.Host{}, "server nas", "share data")
	p, err := s.Pool(t.Context(), "smb")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	ctx := api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said})
	if err := p.(storage.Configurer).Added(ctx, map[string]string{"password": "x"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "storage smb: ignoring password parameter, no user set") {
		t.Errorf("said %q", &said)
	}
}

// TestComma: a name cannot smuggle options into the mount.
func TestComma(t *testing.T) {
	for _, option := range []string{"username bob,uid=0", "domain LAB,exec"} {
		s, _ := serve(t, run.Host{}, "server nas", "share data", option)
		if _, err := s.Pool(t.Context(), "smb"); err == nil || !strings.Contains(err.Error(), "comma") {
			t.Errorf("%s: %v", option, err)
		}
	}
}

// TestServerGone: what does not answer is not mounted, and says so in bounded time.
func TestServerGone(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, hung, _ := net.SplitHostPort(silent.Addr().String())
	for name, c := range map[string]struct{ port, want string }{
		"hangs":     {hung, "127.0.0.1:" + hung + ": no answer in 3s"},
		"is off":    {"1", "127.0.0.1:1: connect: connection refused"},
		"is no SMB": {server(t, "HTTP/1.1 400 Bad Request"), " does not speak SMB"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &refuser{}
			s, _ := serve(t, r, "server 127.0.0.1", "share data", "options port="+c.port)
			err := s.Activate(t.Context(), "smb")
			if err == nil || !strings.HasPrefix(err.Error(), "storage 'smb' is not online: server 127.0.0.1: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if len(r.ran) > 0 {
				t.Errorf("ran %q", r.ran)
			}
		})
	}
}

func TestScan(t *testing.T) {
	raw, err := os.ReadFile("testdata/smbclient.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := []cifs.Share{{"ADMIN$", "Remote Admin"}, {"backup", "Daily backups | with a bar"}, {"my disks", ""}}
	// That it fails afterwards is no matter.
	r := &refuser{out: string(raw)}
	got, err := cifs.Scan(t.Context(), r, "127.0.0.1", "bob", "geheim", "LAB")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if strings.Contains(r.ran[0], "geheim") || r.env[len(r.env)-1] != "PASSWD=geheim" {
		t.Errorf("ran %q in %q", r.ran, r.env)
	}
	for said, want := range map[string]string{
		"session setup failed: NT_STATUS_LOGON_FAILURE\n": "scan of SMB server 127.0.0.1: unexpected status: NT_STATUS_LOGON_FAILURE (the server refuses the user or the password)",
		"something else\n": "scan of SMB server 127.0.0.1: smbclient: exit status 32: something else",
	} {
		if _, err := cifs.Scan(t.Context(), &refuser{said: said}, "127.0.0.1", "", "", ""); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := cifs.Scan(t.Context(), run.Host{}, "no-such-host.invalid", "", "", ""); err == nil || !strings.Contains(err.Error(), "unable to resolve address for server 'no-such-host.invalid'") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseShares(f *testing.F) {
	f.Add("Disk|backup|Daily\nIPC|IPC$|x\n")
	f.Fuzz(func(t *testing.T, out string) {
		last := ""
		for i, s := range cifs.ParseShares(out) {
			if s.Share == "" || strings.ContainsAny(s.Share, "|\n") || i > 0 && s.Share <= last {
				t.Errorf("%+v", s)
			}
			last = s.Share
		}
	})
}
