package storage

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace: no more goes through than is allowed, in either direction.
func TestPace(t *testing.T) {
	for name, copied := range map[string]func(ctx context.Context, data []byte) (int64, error){
		"reading": func(ctx context.Context, data []byte) (int64, error) {
			return io.Copy(io.Discard, slowReader{newPace(ctx, 20), bytes.NewReader(data)})
		},
		"writing": func(ctx context.Context, data []byte) (int64, error) {
			n, err := slowWriter{newPace(ctx, 20), io.Discard}.Write(data)
			return int64(n), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				n, err := copied(t.Context(), make([]byte, 100<<10))
				if took := time.Since(begun); err != nil || n != 100<<10 || took < 4900*time.Millisecond || took > 5100*time.Millisecond {
					t.Errorf("%d bytes at 20 KiB/s took %s: %v", n, took, err)
				}
			})
		})
	}
}
