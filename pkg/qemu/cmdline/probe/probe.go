// Package probe asks the installed QEMU what it can do.
//
// Asking takes a third of a second, so that the answer is kept in a file until
// QEMU is another one.
package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Prober asks QEMU.
type Prober struct {
	Runner run.Runner
	Cache  string // folder for the answers, made where it is missing; empty keeps none
	// Look finds a program, as [run.Host.Look] does.
	Look func(name string) (string, error)
}

var (
	// ErrMissing is the error where there is no QEMU for an architecture.
	ErrMissing = errors.New("QEMU is not installed")
	// ErrTooOld is the error of a QEMU that command lines are not made for.
	ErrTooOld = errors.New("QEMU is too old")
)

// oldest is the first version of QEMU that command lines are made for.
const oldest = "7.2"

// programs lists what QEMU may be called.
func programs(arch string) []string {
	return []string{"qemu-system-" + arch, "qemu-kvm", "/usr/libexec/qemu-kvm"}
}

// QEMU returns what the QEMU for guests of an architecture can do.
func (p *Prober) QEMU(ctx context.Context, arch string) (*cmdline.Capabilities, error) {
	for _, name := range programs(arch) {
		path, err := p.Look(name)
		if err != nil {
			continue
		}
		return p.Binary(ctx, path, arch)
	}
	return nil, fmt.Errorf("%w: there is no program qemu-system-%s (Debian: apt install %s)", ErrMissing, arch, packageOf(arch))
}

func packageOf(arch string) string {
	if arch == "x86_64" {
		return "qemu-system-x86"
	}
	return "qemu-system-arm"
}

// kept is an answer as it is stored.
type kept struct {
	Build string                `json:"build"` // of the program that gave it, see [build]
	QEMU  *cmdline.Capabilities `json:"qemu"`
}

// Binary returns what the QEMU at path can do.
func (p *Prober) Binary(ctx context.Context, path, arch string) (*cmdline.Capabilities, error) {
	id, err := build(path)
	if err != nil {
		return nil, fmt.Errorf("QEMU: %w", err)
	}
	name := sha256.Sum256([]byte(path))
	store := filepath.Join(p.Cache, "qemu-"+arch+"-"+hex.EncodeToString(name[:4])+".json")
	if p.Cache != "" {
		if known := read(store, id); known != nil {
			return known, nil
		}
	}
	c, err := p.ask(ctx, path, arch)
	if err != nil {
		return nil, err
	}
	if p.Cache != "" && plan.From(ctx) == nil {
		_ = keep(store, kept{id, c}) // a folder that cannot be written to costs time, not the answer
	}
	return c, nil
}

// maxAnswer bounds what is read of a stored answer.
const maxAnswer = 4 << 20

func read(store, id string) *cmdline.Capabilities {
	raw, err := file.Read(store, maxAnswer)
	if err != nil {
		return nil
	}
	var k kept
	if json.Unmarshal(raw, &k) != nil || k.Build != id || k.QEMU == nil || k.QEMU.Version == "" {
		return nil
	}
	return k.QEMU
}

func keep(store string, k kept) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(store), 0o755); err != nil {
		return err
	}
	return file.Write(store, raw, 0o644)
}

// build tells one QEMU from another: by the file of the program and, as parts of
// it may be installed later, by the folders of its modules.
func build(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	id := fmt.Sprintf("4 %s %d %d", real, info.Size(), info.ModTime().UnixNano()) // 4 counts what is asked
	debian := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, dir := range []string{"/usr/lib/" + debian + "-linux-gnu/qemu", "/usr/lib/qemu", "/usr/lib64/qemu", "/usr/lib64/qemu-kvm"} {
		if info, err := os.Stat(dir); err == nil {
			id += fmt.Sprintf(" %s %d", dir, info.ModTime().UnixNano())
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return id, nil
}

// IOURing tells whether the kernel lets this process use io_uring. Containers
// often forbid it.
func IOURing() bool {
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 0, 0, 0)
	return errno == unix.EINVAL || errno == unix.EFAULT // it got as far as looking at what it was given
}

// clean shortens what QEMU said at its end to one line.
func clean(text string) string { return strings.Join(strings.Fields(text), " ") }
