// Package hook runs the script that a guest's hookscript option names, when the guest starts
// and stops. The script learns the number of the guest and the phase from its arguments.
package hook

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Phase is a moment in the life of a guest.
type Phase string

// The phases. Only the first can keep the guest from what it is about to do.
const (
	PreStart  Phase = "pre-start"  // nothing runs yet
	PostStart Phase = "post-start" // the guest runs
	PreStop   Phase = "pre-stop"   // the guest is about to be stopped or shut down by a command
	PostStop  Phase = "post-stop"  // nothing runs any more, however it ended
)

// A Script is a file in the snippets of a storage.
type Script struct {
	Volume string // as the configuration names it
	Path   string // where the storage has it
}

// Check tells whether the script is one that can be run.
func (s Script) Check() error {
	info, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("script '%s' does not exist", s.Volume)
	case err != nil:
		return fmt.Errorf("script '%s': %w", s.Volume, err)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("script '%s' is not executable", s.Volume)
	}
	return nil
}

// Run runs the script for a phase, what it writes going to the streams of ctx. A script
// that fails keeps a guest from starting; in the other phases, where it is too late for
// that, it is a warning.
func Run(ctx context.Context, r run.Runner, s Script, guest id.VM, phase Phase) error {
	err := s.run(ctx, r, guest, phase)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("hookscript error for %d on %s: %w", guest, phase, err)
	if phase == PreStart || ctx.Err() != nil {
		return err
	}
	api.Warnf(ctx, "%s", err)
	return nil
}

func (s Script) run(ctx context.Context, r run.Runner, guest id.VM, phase Phase) error {
	if err := s.Check(); err != nil {
		return err
	}
	cmd := run.Command(s.Path, guest.String(), string(phase))
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", cmd)
		return nil
	}
	streams := api.StreamsOf(ctx)
	cmd.Stdout, cmd.Stderr = streams.Out, streams.Err
	err := r.Run(ctx, cmd)
	if failed, ok := errors.AsType[*run.Error](err); ok && failed.ExitCode > 0 {
		return upstream{failed}
	}
	return err
}

// upstream is a failure in the words that users search for; what the script said of it
// they have seen already.
type upstream struct{ failed *run.Error }

// Error reads like "command '/srv/hook 100 pre-start' failed: exit code 1".
func (u upstream) Error() string { return u.failed.Upstream() }

// Unwrap returns the failure itself.
func (u upstream) Unwrap() error { return u.failed }
