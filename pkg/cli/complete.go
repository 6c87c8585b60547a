package cli

import (
	"context"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Word is what the shell may put on the line, and what it means.
type Word struct{ Text, Doc string }

func wantsCompletion(t Tool, w World) bool                  { return false }
func completeLine(ctx context.Context, t Tool, w World) int { return 0 }

var _ schema.Params
