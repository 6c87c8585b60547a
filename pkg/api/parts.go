package api

import (
	"bytes"
	"context"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// portion is how many configurations it takes to keep a processor of its own busy.
const portion = 50

// InParts calls do for the parts of a list with n elements, from first to before last, side by
// side where that pays. What they warn of comes one part after the other.
func InParts(ctx context.Context, n int, do func(ctx context.Context, first, last int) error) error {
	size := max((n+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0), portion)
	var warnings []*bytes.Buffer
	var group errgroup.Group
	for first := 0; first < n; first += size {
		warn := new(bytes.Buffer)
		warnings = append(warnings, warn)
		group.Go(func() error { return do(withWarnings(ctx, warn), first, min(first+size, n)) })
	}
	err := group.Wait()
	for _, warn := range warnings {
		_, _ = warn.WriteTo(StreamsOf(ctx).Err)
	}
	return err
}

// withWarnings lets those who work side by side warn one after the other.
func withWarnings(ctx context.Context, w io.Writer) context.Context {
	streams := StreamsOf(ctx)
	streams.Err = w
	return WithStreams(ctx, streams)
}
