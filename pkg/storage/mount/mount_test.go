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
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// mounter is a runner whose mount mounts what a test says.
type mounter struct {
	mu     sync.Mutex
	ran    []string
	mounts func(ctx context.Context, device, dir string) error
}

func (m *mounter) Run(ctx context.Context, c run.Cmd) error {
	m.mu.Lock()
	m.ran = append(m.ran, c.String())
	m.mu.Unlock()
	switch c.Path {
	case "mount":
		return m.mounts(ctx, c.Args[2], c.Args[3])
	case "umount":
		return unix.Unmount(c.Args[0], 0)
	}
	return run.Host{}.Run(ctx, c)
}

func tmpfs(_ context.Context, device, dir string) error {
	return unix.Mount(device, dir, "tmpfs", 0, "size=4m")
}

// world is a pool that mounts "server:volume" below a temporary folder.
type world struct {
	*mount.Pool
	*mounter
	service *storage.Service
	dir     string
}

func newWorld(t *testing.T, options string) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount")
	}
	root := t.TempDir()
	w := &world{mounter: &mounter{mounts: tmpfs}, dir: root + "/mnt/pve/nas"}
	type config struct {
		storage.Common
		tree.Folders
		Path string `pve:"path" doc:"Folder."`
	}
	typ := storage.NewType(storage.Type{
		Name: "remote", Contents: storage.AllContents(), Default: []storage.Content{storage.Images}, Formats: []string{"raw", "qcow2"},
	}, func(c config, env storage.Env) (storage.Pool, error) {
		w.Pool = mount.New(tree.New(env, c.Path, c.Folders, nil, nil), "nas.example.org", mount.Source{
			Type: "remote", Device: "server:volume", Options: []string{"soft", "vers=4"},
			Is:   func(e mount.Entry) bool { return e.Device == "server:volume" },
			Hint: func(string) string { return "a hint" },
		})
		return w.Pool, nil
	})
	p := prober(t, 20*time.Second)
	w.service = storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: w.mounter, Types: []storage.Type{typ}, QEMUImg: "qemu-img", Probe: p.Probe,
		Config: func(context.Context) (string, error) {
			return "remote: nas\n\tpath " + w.dir + "\n" + options, nil
		},
	})
	if _, err := w.service.Pool(t.Context(), "nas"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(w.dir, unix.MNT_DETACH) == nil {
		}
	})
	return w
}

// below lists what lies on the file system below the mount point.
func (w *world) below(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(w.dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func fails(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
}

// TestLife: it is mounted once, and unmounted.
func TestLife(t *testing.T) {
	w := newWorld(t, "")
	if _, err := w.Status(t.Context()); err == nil {
		t.Error("what is not mounted has a status")
	}
	if err := w.Deactivate(t.Context()); err != nil || len(w.ran) > 0 {
		t.Errorf("%v, ran %q", err, w.ran)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := w.Activate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if want := "mount -t remote server:volume " + w.dir + " -o soft -o 'vers=4'"; len(w.ran) != 1 || w.ran[0] != want {
		t.Errorf("ran %q, want %q", w.ran, want)
	}
	st, err := w.Status(t.Context())
	if err != nil || st.Total != 4<<20 {
		t.Errorf("%+v, %v", st, err)
	}
	if got := w.below(t); len(got) != 1 || got[0] != w.dir+"/images" {
		t.Errorf("made %q", got)
	}
	if err := w.Deactivate(t.Context()); err != nil {
		t.Error(err)
	}
	if got := w.below(t); len(got) != 0 {
		t.Errorf("on the root file system: %q", got)
	}
}

// TestRefused: what cannot be mounted says why, and leaves nothing below the mount
// point.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, options string
		set           func(*world)
		want          []string
	}{
		{"server gone", "", func(w *world) {
			w.Check = func(context.Context) error { return errors.New("10.0.0.1:2049: connection refused") }
		}, []string{"storage 'nas' is not online: server nas.example.org: 10.0.0.1:2049: connection refused"}},
		{"mount fails", "", func(w *world) {
			w.mounts = func(context.Context, string, string) error {
				return &run.Error{Cmd: run.Command("mount"), ExitCode: 32, Stderr: "mount.nfs: access denied by server\n"}
			}
		}, []string{"unable to activate storage 'nas' - mount error: mount: exit status 32: mount.nfs: access denied by server (a hint)"}},
		{"mount does nothing", "", func(w *world) {
			w.mounts = func(context.Context, string, string) error { return nil }
		}, []string{"unable to activate storage 'nas' - mount error:", "is not mounted although"}},
		{"mount hangs", "", func(w *world) {
			w.SetPatience(100 * time.Millisecond)
			w.mounts = func(ctx context.Context, _, _ string) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}
		}, []string{"mount error: not done after 100ms"}},
		{"mount hangs in the kernel", "", func(w *world) {
			w.SetPatience(100 * time.Millisecond)
			w.mounts = func(context.Context, string, string) error { select {} }
		}, []string{"mount error: mount: not done after 100ms"}},
		{"no mount point", "\tmkdir 0\n", func(*world) {}, []string{"unable to activate storage 'nas' - directory '", "' does not exist"}},
		{"something else is there", "", func(w *world) {
			_ = os.MkdirAll(w.dir, 0o755)
			_ = tmpfs(context.Background(), "server:other", w.dir)
		}, []string{"is a mount point already, of 'server:other' (tmpfs) and not of 'server:volume'"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.options)
			c.set(w)
			fails(t, w.Activate(t.Context()), c.want...)
			if got := w.below(t); len(got) != 0 {
				t.Errorf("made %q", got)
			}
		})
	}
}

// TestLink: a mount point behind a link is found in the table.
func TestLink(t *testing.T) {
	w := newWorld(t, "")
	real := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(filepath.Dir(w.dir)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Dir(w.dir)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Activate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.ran) != 1 {
		t.Errorf("ran %q", w.ran)
	}
}

// TestDead: what is mounted but has lost its client is mounted anew.
func TestDead(t *testing.T) {
	w := newWorld(t, "")
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	hungfs.MountAt(t, w.dir, "server:volume", "fuse.test").Die()
	if err := w.Activate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st, err := w.Status(t.Context()); err != nil || st.Total != 4<<20 {
		t.Errorf("%+v, %v", st, err)
	}
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := mount.Find(table, w.dir); !ok || e.Type != "tmpfs" {
		t.Errorf("mounted is %+v", e)
	}
}

// TestHung: whatever is wanted of a storage that hangs is refused at once, after it
// was waited for a first time.
func TestHung(t *testing.T) {
	w := newWorld(t, "")
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fs := hungfs.MountAt(t, w.dir, "server:volume", "fuse.test")
	root := filepath.Dir(filepath.Dir(filepath.Dir(w.dir)))
	p := &mount.Prober{Dir: root + "/run", Argv: prober(t, 0).Argv, Patience: 500 * time.Millisecond}
	w.service = nil
	env := w.Env
	env.Probe = p.Probe
	w.Env = env
	ctx := t.Context()
	want := []string{"storage 'nas' is not online: server nas.example.org: no answer since ", "disable the storage"}
	fails(t, w.Activate(ctx), want...)
	begun := time.Now()
	for range 10 {
		fails(t, w.Activate(ctx), want...)
		_, err := w.Status(ctx)
		fails(t, err, want...)
		_, err = w.Info(ctx, "100/vm-100-disk-0.raw")
		fails(t, err, want...)
		if c, _ := w.Locate(ctx, w.dir+"/images/100/vm-100-disk-0.raw"); c != "" {
			t.Error("found a volume")
		}
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("40 questions took %s", took)
	}
	if n := children(t, w.dir); n != 1 {
		t.Errorf("%d processes ask", n)
	}
	fs.Wake()
	eventually(t, "it is back", func() bool { _, err := w.Status(ctx); return err == nil })
	time.Sleep(1100 * time.Millisecond) // answers are good for a second
	fs.Hang()
	// Nobody can wait for it to be unmounted in order.
	if err := w.Deactivate(ctx); err != nil {
		t.Error(err)
	}
	if mounted, err := w.Mounted(ctx); mounted || err != nil {
		t.Errorf("mounted %v, %v", mounted, err)
	}
	fs.End()
	eventually(t, "no process is left", func() bool { return children(t, w.dir) == 0 })
}

// TestDry: a dry run mounts nothing.
func TestDry(t *testing.T) {
	w := newWorld(t, "")
	if err := w.Activate(plan.With(t.Context(), plan.New(t.Output()))); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.dir); err == nil || len(w.ran) > 0 {
		t.Errorf("made the mount point, ran %q", w.ran)
	}
}

func TestComplete(t *testing.T) {
	for given, want := range map[string]string{"": "/root/mnt/pve/nas", "/srv": "/srv"} {
		options := map[string]string{}
		if given != "" {
			options["path"] = given
		}
		mount.Complete("nas", "/root", options)
		if options["path"] != want {
			t.Errorf("%q became %q", given, options["path"])
		}
	}
}
