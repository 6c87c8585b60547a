package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Folder is a folder of the host that a guest mounts, and how.
type Folder struct {
	Path     string // absolute
	Cache    string // auto, always, metadata or never; empty for auto
	DirectIO bool   // honour direct I/O of the guest
	XAttr    bool   // let the guest use extended attributes
	ACL      bool   // let it use POSIX ACLs, which are extended attributes
}

// FolderSocket is where QEMU connects to for the virtiofsN option with the given number.
func (h Host) FolderSocket(vm id.VM, n int) string { return h.folder(vm) + strconv.Itoa(n) }

func (h Host) folder(vm id.VM) string {
	return filepath.Join(string(h.Dir), vm.String()+".virtiofs")
}

// Server is the virtiofsd of a machine. There are two: the one in C that came with QEMU
// up to 7.2, and the one in Rust that has taken its place.
type Server struct {
	Path string
	Rust bool
}

// serverPlaces are where distributions put virtiofsd, the newer one first.
func serverPlaces() []string {
	return []string{"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "virtiofsd", "/usr/lib/qemu/virtiofsd"}
}

// FindServer looks for virtiofsd at the given places, nil for the usual ones, and tells
// which one it is.
func FindServer(ctx context.Context, r run.Runner, places []string) (Server, error) {
	if places == nil {
		places = serverPlaces()
	}
	for _, place := range places {
		help := run.Command(place, "--help")
		help.ReadOnly = true
		text, err := run.OutputOf(ctx, r, help)
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if err != nil {
			return Server{}, err
		}
		return Server{Path: place, Rust: strings.Contains(string(text), "--shared-dir")}, nil
	}
	return Server{}, errors.New("virtiofsd is not installed (Debian: package virtiofsd, or qemu-system-common up to 12)")
}

// args spells what is wanted for one server or the other, the socket being file
// descriptor 3.
func (s Server) args(f Folder) ([]string, error) {
	cache := f.Cache
	if cache == "" {
		cache = "auto"
	}
	if s.Rust {
		args := []string{"--fd=3", "--shared-dir=" + f.Path, "--announce-submounts", "--inode-file-handles=prefer", "--cache=" + cache}
		return append(args, chosen(map[string]bool{"--allow-direct-io": f.DirectIO, "--xattr": f.XAttr || f.ACL, "--posix-acl": f.ACL},
			"--allow-direct-io", "--xattr", "--posix-acl")...), nil
	}
	switch cache {
	case "never":
		cache = "none"
	case "metadata":
		return nil, fmt.Errorf("cache=metadata needs virtiofsd 1.8 or later: %s is the one of QEMU", s.Path)
	}
	if strings.Contains(f.Path, ",") {
		return nil, fmt.Errorf("%s cannot share a folder with a comma in its name: %s", s.Path, f.Path)
	}
	args := []string{"--fd=3", "-f", "-o", "source=" + f.Path, "-o", "announce_submounts", "-o", "cache=" + cache}
	for _, word := range chosen(map[string]bool{"allow_direct_io": f.DirectIO, "xattr": f.XAttr || f.ACL, "posix_acl": f.ACL},
		"allow_direct_io", "xattr", "posix_acl") {
		args = append(args, "-o", word)
	}
	return args, nil
}

// chosen returns those of the words that are true.
func chosen(is map[string]bool, words ...string) (kept []string) {
	for _, word := range words {
		if is[word] {
			kept = append(kept, word)
		}
	}
	return kept
}

// Both servers say that they wait once nothing is left that could go wrong. One that
// says nothing for this long, being of a version that does not, is taken to.
const (
	waitsForQEMU  = "Waiting for vhost-user socket connection"
	quietPatience = time.Second
	maxGreeting   = 64 << 10
)

// StartFolder starts a server for folder n of a VM. QEMU can connect when it returns.
func (h Host) StartFolder(ctx context.Context, vm id.VM, n int, s Server, f Folder) error {
	what, socket := fmt.Sprintf("virtiofs%d of VM %d", n, vm), h.FolderSocket(vm, n)
	args, err := s.args(f)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", run.Command(s.Path, args...))
		return nil
	}
	if err := os.MkdirAll(string(h.Dir), 0o755); err != nil {
		return err
	}
	if err := h.stop(ctx, socket); err != nil {
		return fmt.Errorf("%s: one of an earlier start is left: %w", what, err)
	}
	cmd := exec.Command(s.Path, args...) // it outlives ctx
	ended, err := launch(cmd, socket)
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", what, err), h.stop(ctx, socket))
	}
	return h.follow(ctx, cmd.Process.Pid, what, socket, ended)
}

// follow sees a server through its first moments.
func (h Host) follow(ctx context.Context, pid int, what, socket string, ended <-chan struct{}) error {
	err := h.settle(ctx, pid, socket, ended)
	if err == nil {
		return nil
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	<-ended
	if errors.Is(err, ErrDied) {
		err = died(what+": virtiofsd", socket)
	}
	return errors.Join(err, h.stop(context.WithoutCancel(ctx), socket))
}

func (h Host) settle(ctx context.Context, pid int, socket string, ended <-chan struct{}) error {
	ticks, alive := startOf(pid)
	if !alive {
		return ErrDied
	}
	if err := file.Write(pidFile(socket), fmt.Appendf(nil, "%d %s\n", pid, ticks), 0o644); err != nil {
		return err
	}
	joined := h.join(ctx, pid)
	await(ctx, quietPatience, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		said, err := file.Read(logFile(socket), maxGreeting)
		return err != nil || bytes.Contains(said, []byte(waitsForQEMU))
	})
	select {
	case <-ended:
		return ErrDied
	default:
	}
	return errors.Join(joined, context.Cause(ctx))
}

// launch makes the socket and starts a server on it. The channel is closed when that
// ends.
func launch(cmd *exec.Cmd, socket string) (<-chan struct{}, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, err
	}
	theirs, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.OpenFile(logFile(socket), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // while we live; then init does
	}()
	return ended, nil
}
