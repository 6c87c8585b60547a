package app

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// plannedRunner runs programs, but in a dry run tells those that would change
// something instead.
type plannedRunner struct{ run.Runner }

func (r plannedRunner) Run(ctx context.Context, c run.Cmd) error {
	p := plan.From(ctx)
	if p == nil {
		return r.Runner.Run(ctx, c)
	}
	return run.Dry{Runner: r.Runner, Print: func(c run.Cmd) { p.Stepf("run: %s", c) }}.Run(ctx, c)
}
