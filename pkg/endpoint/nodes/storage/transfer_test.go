package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

// A said collects what is printed, for several goroutines.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// serve returns a service with a folder, called it, that holds one raw image of 1 KiB.
func serve(t *testing.T) (*Service, string, []byte) {
	t.Helper()
	top := t.TempDir()
	s := &Service{Node: "pve1", Storage: storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{dir.Type()}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) { return "dir: it\n\tpath " + top + "\n", nil },
	})}
	data := []byte(strings.Repeat("data", 256))
	if err := os.MkdirAll(filepath.Join(top, "images/100"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "images/100/vm-100-disk-0.raw"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, top, append([]byte{0, 4, 0, 0, 0, 0, 0, 0}, data...)
}

const (
	source = "it:100/vm-100-disk-0.raw"
	wanted = "it:200/vm-200-disk-0.raw"
)

// needsQEMU skips tests that make images.
func needsQEMU(t *testing.T) {
	t.Helper()
	if _, err := (run.Host{}).Look("qemu-img"); err != nil {
		t.Skip(err)
	}
}

func TestExportToFile(t *testing.T) {
	s, _, want := serve(t)
	path := filepath.Join(t.TempDir(), "stream")
	if _, err := s.export(t.Context(), exportRequest{Volume: source, Format: "raw+size", Filename: path}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, not %d: %v", len(got), len(want), err)
	}
}

// TestFailedExport: the file goes, but nothing that was no file.
func TestFailedExport(t *testing.T) {
	s, _, _ := serve(t)
	path := filepath.Join(t.TempDir(), "stream")
	fail := func(filename string) {
		t.Helper()
		_, err := s.export(t.Context(), exportRequest{Volume: source, Format: "zfs", Filename: filename})
		if err == nil || err.Error() != "volume export format zfs not available for PVE::Storage::DirPlugin" {
			t.Error(err)
		}
	}
	fail(path)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
	link := path + ".link"
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	fail(link)
	if _, err := os.Lstat(link); err != nil {
		t.Error(err)
	}
	_, err := s.export(t.Context(), exportRequest{Volume: source, Format: "raw+size", Filename: path + "/below"})
	if want := "open(" + path + "/below): No such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
	if e, ok := errors.AsType[*openError](err); !ok || e.ExitCode() != int(syscall.ENOENT) {
		t.Errorf("%T", err)
	}
}

// TestExportOverFile: a file that is there is replaced as a whole or not at all.
func TestExportOverFile(t *testing.T) {
	s, top, want := serve(t)
	image := filepath.Join(top, "images/100/vm-100-disk-0.raw")
	for _, c := range []struct {
		name, format string
		before       func(t *testing.T, dir, path string)
		want         string
	}{
		{"whole", "raw+size", nil, ""},
		{"no such format", "zfs", nil, "volume export format zfs not available for PVE::Storage::DirPlugin"},
		{"volume is gone", "raw+size", func(t *testing.T, _, _ string) {
			if err := os.Rename(image, image+".away"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Rename(image+".away", image) })
		}, "does not exist"},
		{"killed before", "raw+size", func(t *testing.T, dir, _ string) {
			if err := os.WriteFile(filepath.Join(dir, ".stream.tmp.17"), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"another writes", "raw+size", func(t *testing.T, _, path string) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
				t.Fatal(err)
			}
		}, "Resource temporarily unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "stream")
			if err := os.WriteFile(path, []byte("mine"), 0o640); err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(t, dir, path)
			}
			content := []byte("mine")
			_, err := s.export(t.Context(), exportRequest{Volume: source, Format: c.format, Filename: path})
			if c.want == "" {
				content = want
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %s", err, c.want)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, not %d: %v", len(got), len(content), err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", info, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

// TestExportToPipe: what is no file gets the stream directly.
func TestExportToPipe(t *testing.T) {
	s, _, want := serve(t)
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(path)
		got <- b
	}()
	if _, err := s.export(t.Context(), exportRequest{Volume: source, Format: "raw+size", Filename: path}); err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("%d bytes, not %d", len(b), len(want))
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// TestPipeWithoutOtherSide: who waits for the other side of a pipe can be ended.
func TestPipeWithoutOtherSide(t *testing.T) {
	s, _, _ := serve(t)
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("received interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, err := s.export(ctx, exportRequest{Volume: source, Format: "raw+size", Filename: path}); !errors.Is(err, cause) {
		t.Error(err)
	}
	if _, err := s.importStream(ctx, importRequest{Volume: wanted, Format: "raw+size", Filename: path}); !errors.Is(err, cause) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// TestBrokenPipe: a receiver that goes away ends the export.
func TestBrokenPipe(t *testing.T) {
	s, _, _ := serve(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // a pipe
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := api.WithStreams(t.Context(), api.Streams{Out: w, Err: io.Discard})
	if _, err := s.export(ctx, exportRequest{Volume: source, Format: "raw+size", Filename: "-"}); !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

func TestDryExport(t *testing.T) {
	s, _, _ := serve(t)
	path := filepath.Join(t.TempDir(), "stream")
	var told bytes.Buffer
	if _, err := s.export(plan.With(t.Context(), plan.New(&told)), exportRequest{Volume: source, Format: "raw+size", Filename: path}); err != nil || told.Len() == 0 {
		t.Errorf("%q, %v", &told, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the file was written")
	}
	for _, c := range []exportRequest{{Volume: source, Format: "zfs"}, {Volume: wanted, Format: "raw+size"}, {Volume: "none:100/a.raw", Format: "raw+size"}} {
		c.Filename = path
		_, dry := s.export(plan.With(t.Context(), plan.New(&told)), c)
		_, err := s.export(t.Context(), c)
		if dry == nil || err == nil || dry.Error() != err.Error() {
			t.Errorf("%v, and in earnest %v", dry, err)
		}
	}
}

func TestImportFromInput(t *testing.T) {
	needsQEMU(t)
	s, top, stream := serve(t)
	ctx := api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: io.Discard, In: bytes.NewReader(stream)})
	made, err := s.importStream(ctx, importRequest{Volume: wanted, Format: "raw+size", Filename: "-"})
	if err != nil || made != wanted {
		t.Errorf("%s, %v", made, err)
	}
	if got, err := os.ReadFile(filepath.Join(top, "images/200/vm-200-disk-0.raw")); err != nil || !bytes.Equal(got, stream[8:]) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if _, err := s.importStream(t.Context(), importRequest{Volume: wanted, Format: "raw+size", Filename: "-"}); err == nil {
		t.Error("something was read where nothing is piped in")
	}
}

// connect waits until a service listens, and connects as the sender that was told of it.
func connect(t *testing.T, out *said) net.Conn {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f := strings.Fields(out.String()); len(f) >= 2 {
			conn, err := net.Dial("tcp", net.JoinHostPort(f[0], f[1]))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
	}
	t.Fatal("nobody listens")
	return nil
}

// TestImportOverTCP: a sender is told where to connect, and nothing is left of half a
// stream.
func TestImportOverTCP(t *testing.T) {
	needsQEMU(t)
	for _, c := range []struct {
		name, filename string
		send           func(stream []byte) []byte
		want           string
	}{
		{"whole", "tcp://127.0.0.1", func(b []byte) []byte { return b }, ""},
		{"network", "tcp://127.0.0.1/32", func(b []byte) []byte { return b }, ""},
		{"half", "tcp://127.0.0.1", func(b []byte) []byte { return b[:len(b)/2] }, "the stream ends after 508 of the 1024 bytes"},
		{"nothing", "tcp://127.0.0.1", func([]byte) []byte { return nil }, "no size found in export header"},
		{"no network of ours", "tcp://2001:db8:77::/48", nil, "Unable to get any local IP address in network '2001:db8:77::/48'"},
		{"no network", "tcp://nonsense/24", nil, "'nonsense/24' is no network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, stream := serve(t)
			out := &said{}
			ctx := api.WithStreams(t.Context(), api.Streams{Out: out, Err: io.Discard})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				if c.send == nil {
					return
				}
				conn := connect(t, out)
				_, _ = conn.Write(c.send(stream))
				_ = conn.Close()
			}()
			made, err := s.importStream(ctx, importRequest{Volume: wanted, Format: "raw+size", Filename: c.filename})
			<-sent
			if c.want == "" && (err != nil || made != wanted) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, %v", made, err)
			}
			v, _ := id.ParseVolume(wanted)
			if _, there := s.Storage.Info(ctx, v); (there == nil) != (c.want == "") {
				t.Errorf("the volume: %v", there)
			}
		})
	}
}

// TestNobodyComes: who waits for a sender can be ended.
func TestNobodyComes(t *testing.T) {
	s, _, _ := serve(t)
	cause := errors.New("received interrupt")
	for _, filename := range []string{"tcp://127.0.0.1", "unix://" + filepath.Join(t.TempDir(), "s")} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
		if _, err := s.importStream(ctx, importRequest{Volume: wanted, Format: "raw+size", Filename: filename}); !errors.Is(err, cause) {
			t.Errorf("%s: %v", filename, err)
		}
	}
}
