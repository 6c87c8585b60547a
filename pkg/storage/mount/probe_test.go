package mount_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/hungfs"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
)

// childWord makes the test binary the process that asks.
const childWord = "--test-probe"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		os.Exit(mount.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func prober(t testing.TB, patience time.Duration) *mount.Prober {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &mount.Prober{Dir: filepath.Join(t.TempDir(), "run"), Argv: []string{exe, childWord}, Patience: patience}
}

// children counts the processes that ask for a path.
func children(t *testing.T, path string) int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range found {
		line, _ := os.ReadFile(name) // it may have ended
		if strings.Contains(string(line), childWord+"\x00"+path+"\x00") {
			n++
		}
	}
	return n
}

// eventually waits for something that takes a moment on a busy machine.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	want, err := storage.FileSystem(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := prober(t, time.Minute)
	for range 3 {
		got, err := p.Probe(t.Context(), "nas", dir)
		if err != nil || got.Total != want.Total {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := p.Probe(t.Context(), "nas", dir+"/missing"); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), dir+"/missing") {
		t.Errorf("missing: %v", err)
	}
	p.Argv[0] = "/nonexistent/program"
	if got, err := p.Probe(t.Context(), "other", dir); err != nil || got.Total != want.Total {
		t.Errorf("without a program: %+v, %v", got, err)
	}
	p = prober(t, time.Minute)
	p.Argv = []string{"/bin/false"}
	if _, err := p.Probe(t.Context(), "broken", dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a program that fails: %v", err)
	}
}

// TestHungProbe: a file system that hangs is waited for once, by one process, which
// ends when the file system answers.
func TestHungProbe(t *testing.T) {
	fs := hungfs.Mount(t, "server:volume", "fuse.test")
	p := prober(t, 500*time.Millisecond)
	silent := func(p *mount.Prober) *storage.NoAnswer {
		t.Helper()
		_, err := p.Probe(t.Context(), "nas", fs.Dir)
		n, ok := errors.AsType[*storage.NoAnswer](err)
		if !ok {
			t.Fatalf("got %v", err)
		}
		return n
	}
	first := silent(p)
	p.Patience = time.Hour // would be waited for, were it asked anew
	p2 := *p
	p2.Patience = time.Millisecond
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if again := silent(&p2); !again.Since.Equal(first.Since.Round(0)) {
				t.Errorf("silent since %s, not since %s", again.Since, first.Since)
			}
		})
	}
	wg.Wait()
	if n := children(t, fs.Dir); n != 1 {
		t.Errorf("%d processes ask", n)
	}
	// Who has less patience says so, or ends it.
	for _, ctx := range []context.Context{storage.WithPatience(t.Context(), time.Millisecond), late(t)} {
		if _, err := p.Probe(ctx, "nas", fs.Dir); !errors.As(err, new(*storage.NoAnswer)) {
			t.Errorf("impatient: %v", err)
		}
	}
	// Who is ended while waiting ends at once.
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("received interrupt")
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if _, err := p.Probe(ctx, "nas", fs.Dir); !errors.Is(err, cause) {
		t.Errorf("interrupted: %v", err)
	}
	// A storage of the same name elsewhere is another.
	if _, err := p.Probe(t.Context(), "nas", t.TempDir()); err != nil {
		t.Errorf("elsewhere: %v", err)
	}

	fs.Wake()
	got, err := p.Probe(t.Context(), "nas", fs.Dir)
	if err != nil || got != (storage.Status{Total: 4096000, Used: 400 * 4096, Available: 500 * 4096}) {
		t.Errorf("awake: %+v, %v", got, err)
	}
	eventually(t, "no process is left", func() bool { return children(t, fs.Dir) == 0 })

	fs.Die()
	time.Sleep(1100 * time.Millisecond) // answers are good for a second
	if _, err := p.Probe(t.Context(), "nas", fs.Dir); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("dead: %v", err)
	}
}

// late returns a context that ends soon.
func late(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestManyProbes: many who ask at once share what few processes tell.
func TestManyProbes(t *testing.T) {
	dir := t.TempDir()
	p := prober(t, time.Minute)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := p.Probe(t.Context(), "nas", dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func FuzzRecord(f *testing.F) {
	f.Add("1 2 0 4 5 6\nrest")
	f.Add("1700000000000000000\n")
	f.Add("x\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := mount.ParseRecord(text)
		if again := mount.ParseRecord(r); again != r {
			t.Errorf("%q became %q", r, again)
		}
	})
}

func BenchmarkProbe(b *testing.B) {
	dir, p := b.TempDir(), prober(b, time.Minute)
	for i := 0; b.Loop(); i++ {
		// Each time another storage, so that none is answered from the last answer.
		if _, err := p.Probe(b.Context(), "nas", dir+strings.Repeat("/", i%100)); err != nil {
			b.Fatal(err)
		}
	}
}
