package storage

import (
	"context"
	"io"
)

// Pace returns r, slowed down to the given KiB/s where that is not 0. It ends with ctx.
func Pace(ctx context.Context, r io.Reader, limit int) io.Reader { return newPace(ctx, r, limit) }
