package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Pipe runs commands side by side, the standard output of each feeding the next. It
// returns the errors of all that failed; a broken pipe that only follows from a later
// command's end is left out.
func Pipe(ctx context.Context, r Runner, cmds ...Cmd) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(cmds))
	ends := make([]*os.File, 0, 2*len(cmds))
	defer func() {
		for _, f := range ends {
			_ = f.Close()
		}
	}()
	var wg sync.WaitGroup
	links := make([]struct{ in, out *os.File }, len(cmds))
	for i := range len(cmds) - 1 {
		in, out, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		links[i].out, links[i+1].in = out, in
		ends = append(ends, in, out)
	}
	for i, c := range cmds {
		if links[i].in != nil {
			c.Stdin = links[i].in
		}
		if links[i].out != nil {
			c.Stdout = links[i].out
		}
		wg.Go(func() {
			errs[i] = r.Run(ctx, c)
			// Closing our copies is what tells the neighbours.
			for _, f := range []*os.File{links[i].in, links[i].out} {
				if f != nil {
					_ = f.Close()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(withoutEcho(errs)...)
}

// withoutEcho drops SIGPIPE deaths where a real fault is there to be told.
func withoutEcho(errs []error) []error {
	var real []error
	for _, err := range errs {
		e, ok := errors.AsType[*Error](err)
		if err != nil && !(ok && e.Signal == syscall.SIGPIPE.String()) {
			real = append(real, err)
		}
	}
	if len(real) == 0 {
		return errs
	}
	return real
}
