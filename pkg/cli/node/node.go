// Package node runs a tool on the node it was called on.
package node

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/app"
	"github.com/virtsmith/virtsmith/pkg/cli"
)

// Main is the main function of a binary: it runs the command that the command line
// names and returns the exit code. Called by ourselves, the same binary is a worker of
// a task, or the supervisor of a QEMU.
func Main(t cli.Tool) int {
	host, err := app.FromOS()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	a := app.New(host)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case app.WorkerWord:
			return a.Work(context.Background())
		case app.SupervisorWord:
			return a.Supervise()
		}
	}
	return cli.Main(t, world(a))
}

// world is the process's own: its streams, its environment, its node.
func world(a *app.App) cli.World {
	return cli.World{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Args: os.Args[1:],
		Env: os.Getenv, Node: func() string { return a.Node }, Location: time.Local,
		Methods: a.Methods(),
		Caller:  func(context.Context) (api.Caller, error) { return a.Caller(os.Stdout), nil },
		// The caller has waited for the task and shown its log.
		Follow: func(context.Context, string) error { return nil },
	}
}
