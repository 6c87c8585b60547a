package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func TestHeader(t *testing.T) {
	for _, size := range []int64{0, 1, 512, 1 << 40} {
		var b bytes.Buffer
		if err := storage.WriteHeader(&b, size); err != nil {
			t.Fatal(err)
		}
		b.WriteString("data")
		got, err := storage.ReadHeader(&b)
		if err != nil || got != size || b.String() != "data" {
			t.Errorf("%d became %d, %v; left %q", size, got, err, &b)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x00\x00\x00\x00\x00data"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		size, err := storage.ReadHeader(r)
		if err == nil && (size < 0 || r.Len() != len(stream)-8) {
			t.Errorf("%q: %d bytes announced, %d left", stream, size, r.Len())
		}
	})
}

// FuzzFillFile: whatever comes, a file is what was announced or an error.
func FuzzFillFile(f *testing.F) {
	f.Add([]byte("hello"), int64(5), true)
	f.Add(make([]byte, 200<<10), int64(200<<10), true)
	f.Add([]byte("hello"), int64(0), false)
	f.Add([]byte("hello"), int64(4), false)
	f.Add([]byte("hello"), int64(900), false)
	f.Fuzz(func(t *testing.T, data []byte, size int64, zeroed bool) {
		if size < 0 || size > 1<<30 {
			t.Skip()
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := storage.FillFile(t.Context(), bytes.NewReader(data), path, storage.Filling{Size: size, Zeroed: zeroed})
		n := int64(len(data))
		if fits := size == 0 || n <= size && size-n < 512; fits != (err == nil) {
			t.Fatalf("%d bytes for %d: %v", n, size, err)
		}
		if err != nil {
			return
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := append(bytes.Clone(data), make([]byte, max(0, size-n))...); !bytes.Equal(got, want) {
			t.Errorf("%d bytes for %d became others", n, size)
		}
	})
}

// TestTally: what is told of a copy has the shape that dd gives it.
func TestTally(t *testing.T) {
	for size, want := range map[int]string{
		1:           "0+1 records in\n0+1 records out\n1 byte copied, T\n",
		512:         "0+1 records in\n0+1 records out\n512 bytes copied, T\n",
		1000:        "0+1 records in\n0+1 records out\n1000 bytes (1.0 kB) copied, T\n",
		4096:        "1+0 records in\n1+0 records out\n4096 bytes (4.1 kB, 4.0 KiB) copied, T\n",
		1048576 - 8: "255+1 records in\n255+1 records out\n1048568 bytes (1.0 MB, 1.0 MiB) copied, T\n",
		40 << 20:    "10240+0 records in\n10240+0 records out\n41943040 bytes (42 MB, 40 MiB) copied, T\n",
	} {
		var said bytes.Buffer
		ctx := api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: &said})
		o := storage.Sending{Length: int64(size), Block: 4096}
		if err := storage.ExportReader(ctx, io.Discard, bytes.NewReader(make([]byte, size)), o); err != nil {
			t.Fatal(err)
		}
		got := regexp.MustCompile(`[0-9.e-]+ s, [0-9.]+ ([kMGT]?B)/s`).ReplaceAllString(said.String(), "T")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", size, diff)
		}
	}
}

// TestEndedExport: nobody waits for a receiver that does not read.
func TestEndedExport(t *testing.T) {
	cause := errors.New("received interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer r.Close() //nolint:errcheck // a pipe
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	o := storage.Sending{Size: 1 << 20, Length: 1 << 20, Block: 4096}
	if err := storage.ExportReader(ctx, w, strings.NewReader("x"), o); !errors.Is(err, cause) {
		t.Error(err)
	}
}

// TestShrunk: a source that gets smaller is no volume.
func TestShrunk(t *testing.T) {
	o := storage.Sending{Length: 2048, Pad: 511, Block: 4096, What: "/dev/x"}
	err := storage.ExportReader(t.Context(), io.Discard, bytes.NewReader(make([]byte, 1024)), o)
	if err == nil || !strings.Contains(err.Error(), "/dev/x became smaller while it was read: 1024 of 2048 bytes") {
		t.Error(err)
	}
}
