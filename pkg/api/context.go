package api

import (
	"context"
	"fmt"
	"io"
)

// Streams are where a method tells the user how its work goes: the terminal of a
// command, or the log of a task. What it answers is what it returns.
type Streams struct {
	Out io.Writer // progress and results of steps
	Err io.Writer // warnings
	In  io.Reader // what the user pipes in or types; nil where there is nobody
}

type (
	streamsKey struct{}
	userKey    struct{}
)

// WithStreams gives the methods called with the returned context their streams.
func WithStreams(ctx context.Context, s Streams) context.Context {
	return context.WithValue(ctx, streamsKey{}, s)
}

// StreamsOf returns the streams of ctx; without any, what is written is dropped.
func StreamsOf(ctx context.Context) Streams {
	if s, ok := ctx.Value(streamsKey{}).(Streams); ok {
		return s
	}
	return Streams{Out: io.Discard, Err: io.Discard}
}

// Printf tells the user of a step.
func Printf(ctx context.Context, format string, args ...any) {
	fmt.Fprintf(StreamsOf(ctx).Out, format, args...)
}

// Warnf tells the user of something that is wrong but does not stop the work. In a
// task it counts as a warning.
func Warnf(ctx context.Context, format string, args ...any) {
	fmt.Fprintf(StreamsOf(ctx).Err, "WARN: "+format+"\n", args...)
}

// WithUser names on whose behalf methods are called.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User returns on whose behalf ctx calls; without any, root@pam, who stands at the
// shell.
func User(ctx context.Context) string {
	if user, ok := ctx.Value(userKey{}).(string); ok {
		return user
	}
	return "root@pam"
}
