package app

import (
	"context"
	"io"
	"os"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/task"
)

// run does the task that m is in a worker, shows its log on out, and returns when it
// is done. When ctx ends first, the worker is told to stop and seen to its end.
func (a *App) run(out io.Writer) func(context.Context, *api.Method, api.Job, schema.Params) (string, error) {
	return func(ctx context.Context, m *api.Method, job api.Job, p schema.Params) (string, error) {
		t, err := a.Tasks.Run(ctx, spec(ctx, m, job, p), out)
		return t.String(), err
	}
}

func spec(ctx context.Context, m *api.Method, job api.Job, p schema.Params) task.Spec {
	return task.Spec{Type: job.Type, ID: job.ID, User: api.User(ctx), Method: m.Key(), Params: p}
}

// Work is the life of a worker process.
func (a *App) Work(ctx context.Context) int {
	return a.Tasks.Work(ctx, os.Stdin, func(ctx context.Context, o task.Order, log io.Writer) error {
		ctx = api.WithStreams(api.WithUser(ctx, o.Task.User), api.Streams{Out: log, Err: log})
		return a.Caller(log).Work(ctx, o.Method, o.Params)
	})
}

// Supervise is the life of the supervisor of a QEMU. It returns the exit code.
func (a *App) Supervise() int {
	err := process.Supervise(os.Stdin, os.NewFile(reportFD, "report"), a.ended)
	if err != nil {
		return 255
	}
	return 0
}

// ended clears up after a QEMU, however it went. Nobody is there to be told: what
// cannot be cleared is left to the next command for the VM.
func (a *App) ended(ctx context.Context, spec process.Spec, _ process.End) error {
	return a.Power.Clear(ctx, spec.VM, spec.Generation)
}

// reportFD is where a supervisor reports to who started it.
const reportFD = 3
