package sidecar

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// bench is a node with a folder of its own and the real programs.
func bench(t *testing.T, programs ...string) (Host, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the programs beside a VM are run by root")
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	root, err := os.MkdirTemp("", "vs") // short: sockets
	if err != nil {
		t.Fatal(err)
	}
	h := Host{Dir: process.Below(root), Run: run.Host{}}
	t.Cleanup(func() {
		if err := h.Stop(context.Background(), 100); err != nil {
			t.Error(err)
		}
		os.RemoveAll(root)
	})
	return h, root
}

// boot starts a QEMU that waits, and connects to it.
func boot(t *testing.T, h Host, more ...string) (*exec.Cmd, *qmp.Monitor) {
	t.Helper()
	argv := append([]string{
		"-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-S", "-m", "64",
		"-qmp", "unix:" + h.Dir.QMP(100) + ",server=on,wait=off",
	}, more...)
	cmd := exec.Command("qemu-system-x86_64", argv...)
	var words bytes.Buffer
	cmd.Stderr = &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := qmp.DialStarting(ctx, h.Dir.QMP(100))
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("%v: %s", err, words.String())
	}
	return cmd, m
}

// gone waits until the program with the given socket has ended.
func gone(t *testing.T, socket string) {
	t.Helper()
	if !await(t.Context(), 5*time.Second, func() bool { return running(socket) == 0 }) {
		t.Errorf("%s is still served", socket)
	}
}

// empty checks that nothing but QEMU's own files is left.
func empty(t *testing.T, h Host) {
	t.Helper()
	left, err := h.Dir.Leftovers(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if path != h.Dir.QMP(100) {
			t.Errorf("%s is left", path)
		}
	}
}

func newState(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, "state.raw")
	if err := os.WriteFile(path, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTPM(t *testing.T) {
	for _, tt := range []struct{ version, family string }{{"v2.0", "2.0"}, {"v1.2", "1.2"}} {
		t.Run(tt.version, func(t *testing.T) {
			h, root := bench(t, "swtpm", "swtpm_setup", "qemu-system-x86_64")
			tpm := TPM{State: newState(t, root), Version: tt.version}
			began := time.Now()
			if err := h.StartTPM(t.Context(), 100, tpm); err != nil {
				t.Fatal(err)
			}
			t.Logf("with a new state: %v", time.Since(began))
			if isNew, err := isNewState(tpm.State); isNew || err != nil {
				t.Errorf("state is new: %v, %v", isNew, err)
			}
			qemu, m := boot(t, h,
				"-chardev", "socket,id=tpmchar,path="+h.Dir.TPM(100), "-tpmdev", "emulator,id=tpmdev,chardev=tpmchar", "-device", "tpm-tis,tpmdev=tpmdev")
			var found []struct{ ID, Model string }
			if err := m.Call(t.Context(), "query-tpm", nil, &found); err != nil || len(found) != 1 || found[0].Model != "tpm-tis" {
				t.Errorf("query-tpm: %+v, %v", found, err)
			}
			if err := m.Quit(t.Context()); err != nil {
				t.Error(err)
			}
			_ = qemu.Wait()
			gone(t, h.Dir.TPM(100))
			began = time.Now()
			if err := h.StartTPM(t.Context(), 100, tpm); err != nil {
				t.Fatal(err)
			}
			t.Logf("with the state of before: %v", time.Since(began))
			// And again, as after a start that failed later on.
			if err := h.StartTPM(t.Context(), 100, tpm); err != nil {
				t.Fatal(err)
			}
			if err := h.Stop(t.Context(), 100); err != nil {
				t.Error(err)
			}
			gone(t, h.Dir.TPM(100))
			empty(t, h)
		})
	}
}

func TestTPMKilled(t *testing.T) {
	h, root := bench(t, "swtpm", "swtpm_setup", "qemu-system-x86_64")
	if err := h.StartTPM(t.Context(), 100, TPM{State: newState(t, root), Version: "v2.0"}); err != nil {
		t.Fatal(err)
	}
	qemu, _ := boot(t, h,
		"-chardev", "socket,id=tpmchar,path="+h.Dir.TPM(100), "-tpmdev", "emulator,id=tpmdev,chardev=tpmchar", "-device", "tpm-tis,tpmdev=tpmdev")
	_ = qemu.Process.Kill()
	_ = qemu.Wait()
	gone(t, h.Dir.TPM(100))
	if err := h.Stop(t.Context(), 100); err != nil {
		t.Error(err)
	}
	empty(t, h)
}

func TestTPMFaults(t *testing.T) {
	h, root := bench(t, "swtpm", "swtpm_setup")
	err := h.StartTPM(t.Context(), 100, TPM{State: filepath.Join(root, "none"), Version: "v2.0"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no state: %v", err)
	}
	state := filepath.Join(root, "state")
	if err := os.WriteFile(state, []byte(stateMagic), 0o600); err != nil {
		t.Fatal(err)
	}
	tpm := TPM{State: state, Version: "v2.0"}
	h.Run = run.NewFake(run.Exchange{Args: append([]string{"swtpm"}, tpm.args(100, h.Dir.TPM(100))...), Exit: 1, Stderr: "no such option"})
	err = h.StartTPM(t.Context(), 100, tpm)
	if want := "start TPM of VM 100: swtpm: exit status 1: no such option"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestFolder(t *testing.T) {
	h, root := bench(t, "qemu-system-x86_64")
	server, err := FindServer(t.Context(), h.Run, nil)
	if err != nil {
		t.Skip(err)
	}
	t.Logf("%+v", server)
	for _, f := range []Folder{{}, {Cache: "always", DirectIO: true, XAttr: true}, {Cache: "never", ACL: true}} {
		t.Run("cache="+f.Cache, func(t *testing.T) {
			f.Path = root
			socket := h.FolderSocket(100, 0)
			began := time.Now()
			if err := h.StartFolder(t.Context(), 100, 0, server, f); err != nil {
				t.Fatal(err)
			}
			t.Logf("started in %v", time.Since(began))
			qemu, m := boot(t, h,
				"-object", "memory-backend-memfd,id=mem,size=64M,share=on", "-machine", "memory-backend=mem",
				"-chardev", "socket,id=fs0,path="+socket, "-device", "vhost-user-fs-pci,chardev=fs0,tag=share")
			if _, err := m.Status(t.Context()); err != nil {
				t.Error(err)
			}
			if running(socket) == 0 {
				said, _ := os.ReadFile(logFile(socket))
				t.Errorf("ended under QEMU: %s", said)
			}
			_ = qemu.Process.Kill()
			_ = qemu.Wait()
			gone(t, socket)
			if err := h.Stop(t.Context(), 100); err != nil {
				t.Error(err)
			}
			empty(t, h)
		})
	}
}

func TestFolderStopped(t *testing.T) {
	h, root := bench(t)
	server, err := FindServer(t.Context(), h.Run, nil)
	if err != nil {
		t.Skip(err)
	}
	for n := range 2 {
		if err := h.StartFolder(t.Context(), 100, n, server, Folder{Path: root}); err != nil {
			t.Fatal(err)
		}
	}
	pid := running(h.FolderSocket(100, 1))
	if err := h.Stop(t.Context(), 100); err != nil {
		t.Error(err)
	}
	if _, alive := startOf(pid); alive { // to be buried counts as gone
		t.Errorf("process %d is left", pid)
	}
	empty(t, h)
	err = h.StartFolder(t.Context(), 100, 0, server, Folder{Path: filepath.Join(root, "none")})
	t.Log(err)
	if !errors.Is(err, ErrDied) || !strings.HasPrefix(err.Error(), "virtiofs0 of VM 100: virtiofsd ended while starting: ") {
		t.Errorf("no folder: %v", err)
	}
	empty(t, h)
}

func TestFolderArgs(t *testing.T) {
	c, rust := Server{Path: "/usr/lib/qemu/virtiofsd"}, Server{Path: "/usr/libexec/virtiofsd", Rust: true}
	tests := []struct {
		name   string
		server Server
		folder Folder
		want   string
		err    string
	}{
		{"rust", rust, Folder{Path: "/srv/a b"}, "--fd=3 --shared-dir=/srv/a b --announce-submounts --inode-file-handles=prefer --cache=auto", ""},
		{
			"rust, all", rust,
			Folder{Path: "/srv", Cache: "metadata", DirectIO: true, ACL: true},
			"--fd=3 --shared-dir=/srv --announce-submounts --inode-file-handles=prefer --cache=metadata --allow-direct-io --xattr --posix-acl", "",
		},
		{"c", c, Folder{Path: "/srv"}, "--fd=3 -f -o source=/srv -o announce_submounts -o cache=auto", ""},
		{
			"c, all", c,
			Folder{Path: "/srv", Cache: "never", DirectIO: true, ACL: true},
			"--fd=3 -f -o source=/srv -o announce_submounts -o cache=none -o allow_direct_io -o xattr -o posix_acl", "",
		},
		{"c, xattr", c, Folder{Path: "/srv", XAttr: true}, "--fd=3 -f -o source=/srv -o announce_submounts -o cache=auto -o xattr", ""},
		{"c, metadata", c, Folder{Path: "/srv", Cache: "metadata"}, "", "cache=metadata needs virtiofsd 1.8 or later: /usr/lib/qemu/virtiofsd is the one of QEMU"},
		{"c, comma", c, Folder{Path: "/srv,x"}, "", "/usr/lib/qemu/virtiofsd cannot share a folder with a comma in its name: /srv,x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, err := tt.server.args(tt.folder)
			if diff := cmp.Diff(tt.want, strings.Join(args, " ")); diff != "" {
				t.Error(diff)
			}
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestFindServer(t *testing.T) {
	missing := func(name string) run.Exchange { return run.Exchange{Args: []string{name, "--help"}, Missing: true} }
	fake := run.NewFake(missing("/a"), run.Exchange{Args: []string{"/b", "--help"}, Stdout: "Usage: virtiofsd\n  --shared-dir <DIR>\n"})
	s, err := FindServer(t.Context(), fake, []string{"/a", "/b"})
	if want := (Server{Path: "/b", Rust: true}); s != want || err != nil {
		t.Error(s, err)
	}
	if _, err := FindServer(t.Context(), run.NewFake(missing("/a")), []string{"/a"}); err == nil || !strings.HasPrefix(err.Error(), "virtiofsd is not installed") {
		t.Error(err)
	}
}

// TestForeignProcess: a number that belongs to another process by now is left alone.
func TestForeignProcess(t *testing.T) {
	h := Host{Dir: process.Below(t.TempDir()), Run: run.NewFake()}
	if err := os.MkdirAll(string(h.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	pid := strconv.Itoa(sleep.Process.Pid)
	for path, text := range map[string]string{pidFile(h.Dir.TPM(100)): pid + "\n", pidFile(h.FolderSocket(100, 3)): pid + " 17\n", h.Dir.PID(100): pid} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Stop(t.Context(), 100); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(sleep.Process.Pid, 0); err != nil {
		t.Error(err)
	}
	left, _ := h.Dir.Leftovers(100)
	if diff := cmp.Diff([]string{h.Dir.PID(100)}, left); diff != "" {
		t.Error(diff)
	}
}

func TestDryRun(t *testing.T) {
	h := Host{Dir: process.Below(t.TempDir()), Run: run.NewFake()}
	var out bytes.Buffer
	ctx := plan.With(t.Context(), plan.New(&out))
	err := errors.Join(
		h.StartTPM(ctx, 100, TPM{State: "/state"}),
		h.StartFolder(ctx, 100, 0, Server{Path: "/v", Rust: true}, Folder{Path: "/srv"}),
		h.Stop(ctx, 100),
	)
	want := "start swtpm with /state\n/v '--fd=3' '--shared-dir=/srv' --announce-submounts '--inode-file-handles=prefer' '--cache=auto'\n"
	if diff := cmp.Diff(want, out.String()); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := os.Stat(string(h.Dir)); err == nil {
		t.Error("a dry run made a folder")
	}
}
