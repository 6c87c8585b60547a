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
	if p := plan.From(ctx); p != nil && !c.ReadOnly {
		p.Stepf("run: %s", c)
		return nil
	}
	return r.Runner.Run(ctx, c)
}
