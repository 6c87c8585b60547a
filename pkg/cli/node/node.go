// Package node runs a tool on the node it was called on.
package node

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/app"
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// Main is the main function of a binary: it runs the command that the command line
// names and returns the exit code. Called by ourselves, the same binary is a worker of
// a task, the supervisor of a QEMU, a hook of LXC, or asks a file system that may hang. join adds to the
// world what only this tool has.
func Main(t cli.Tool, join ...func(*app.Host)) int {
	if len(os.Args) > 1 && os.Args[1] == app.ProbeWord {
		return app.Probe(os.Args[2:]) // it needs no world, and must start quickly
	}
	host, err := app.FromOS()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	for _, add := range join {
		add(&host)
	}
	a := app.New(host)
	word := ""
	if len(os.Args) > 1 {
		word = os.Args[1]
	}
	if word == app.SupervisorWord { // the one that lives long
		return a.Supervise()
	}
	// Others mostly live for milliseconds: memory is cheaper than the time to collect it.
	debug.SetGCPercent(garbage)
	debug.SetMemoryLimit(muchMemory)
	switch word {
	case app.WorkerWord:
		return a.Work(context.Background())
	case app.HookWord:
		return a.Hooked(context.Background(), os.Args[2:])
	}
	return cli.Main(t, world(a))
}

// garbage is by how many percent the memory of a process may grow over what it uses, and
// muchMemory from how many bytes on it is collected more often after all.
const (
	garbage    = 800
	muchMemory = 128 << 20
)

// world is the process's own: its streams, its environment, its node.
func world(a *app.App) cli.World {
	return cli.World{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Args: os.Args[1:],
		Env: os.Getenv, Node: func() string { return a.Node }, Location: time.Local,
		Methods: a.Methods(),
		Caller:  func(context.Context) (api.Caller, error) { return a.Caller(os.Stdout), nil },
		// The caller has waited for the task and shown its log.
		Follow: func(context.Context, string) error { return nil },
		Secret: secret,
		Live: func(ctx context.Context, kind, prefix string, p schema.Params) []cli.Word {
			words := a.Words(ctx, kind, prefix, p)
			list := make([]cli.Word, 0, len(words))
			for _, text := range slices.Sorted(maps.Keys(words)) {
				list = append(list, cli.Word{Text: text, Doc: words[text]})
			}
			return list
		},
	}
}

// secret asks for a password at the terminal.
func secret(prompt string) (string, error) {
	return term.ReadPassword(os.Stdin, os.Stderr, prompt)
}
