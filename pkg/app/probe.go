package app

import (
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/storage/mount"
)

// prober asks file systems that may hang, in processes of our own program.
func (a *App) prober() *mount.Prober {
	return &mount.Prober{Dir: filepath.Join(a.Root, "run/virtsmith"), Argv: []string{a.Exe, ProbeWord}, Env: a.Env}
}

// Probe is the life of such a process. It returns the exit code.
func Probe(args []string) int { return mount.Child(args) }
