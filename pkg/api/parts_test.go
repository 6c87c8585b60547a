package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
)

func TestInParts(t *testing.T) {
	for _, n := range []int{0, 1, 49, 50, 51, 100, 1000, 1001} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var warned bytes.Buffer
			ctx := api.WithStreams(t.Context(), api.Streams{Err: &warned})
			done := make([]int, n)
			err := api.InParts(ctx, n, func(ctx context.Context, first, last int) error {
				for i := first; i < last; i++ {
					done[i]++
					fmt.Fprintln(api.StreamsOf(ctx).Err, i)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Builder{}
			for i, times := range done {
				if times != 1 {
					t.Fatalf("element %d: %d times", i, times)
				}
				fmt.Fprintln(&want, i)
			}
			if diff := cmp.Diff(want.String(), warned.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInPartsFails(t *testing.T) {
	no := errors.New("no")
	err := api.InParts(t.Context(), 200, func(_ context.Context, first, _ int) error {
		if first == 0 {
			return no
		}
		return nil
	})
	if !errors.Is(err, no) {
		t.Error(err)
	}
}
