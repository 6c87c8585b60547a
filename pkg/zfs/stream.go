package zfs

import (
	"context"
	"io"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Range says which states of a dataset a stream holds.
type Range struct {
	Snapshot string // up to this one
	Base     string // from this one on, which the receiver has; empty for all
	Between  bool   // with those between Base and Snapshot
}

// Send writes a dataset as a stream, with its properties and, where there is no base,
// with all its snapshots. What zfs tells on the way goes to show. It takes as long as it
// takes.
func (t Tool) Send(ctx context.Context, w, show io.Writer, dataset string, r Range) error {
	args := []string{"send", "-Rpv"}
	switch {
	case r.Base != "" && r.Between:
		args = append(args, "-I", r.Base)
	case r.Base != "":
		args = append(args, "-i", r.Base)
	}
	c := run.Cmd{Path: "zfs", Args: append(args, "--", dataset+"@"+r.Snapshot), Env: []string{"LC_ALL=C"}, Stdout: w, Stderr: show, ReadOnly: true}
	return told(t.Runner.Run(ctx, c))
}

// Receive makes a dataset of a stream. With over it goes on from the state that the
// stream builds on, and what has changed since is lost; without, the name must be free.
func (t Tool) Receive(ctx context.Context, r io.Reader, show io.Writer, dataset string, over bool) error {
	args := []string{"recv"}
	if over {
		args = append(args, "-F")
	}
	c := run.Cmd{Path: "zfs", Args: append(args, "-x", "encryption", "--", dataset), Env: []string{"LC_ALL=C"}, Stdin: r, Stdout: show, Stderr: show}
	return told(t.Runner.Run(ctx, c))
}
