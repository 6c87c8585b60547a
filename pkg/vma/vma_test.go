package vma_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/vma"
)

// A blob is a configuration or a disk as the manifest of the samples has it.
type blob struct {
	DevID  uint8 `json:"dev_id"`
	Name   string
	Size   int64
	SHA256 string
}

type sample struct {
	UUID    string
	CTime   int64
	Header  int64 `json:"header_size"`
	Configs []blob
	Devices []blob
}

func samples(t *testing.T) map[string]sample {
	t.Helper()
	var all map[string]sample
	conformance.Load(t, "vma/manifest", &all)
	return all
}

func open(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(conformance.Path(t, "vma/"+name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformanceHeader(t *testing.T) {
	for name, want := range samples(t) {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(open(t, name))
			h, err := vma.ReadHeader(r)
			if err != nil {
				t.Fatal(err)
			}
			if at, _ := r.Seek(0, io.SeekCurrent); at != want.Header {
				t.Errorf("read %d bytes of %d", at, want.Header)
			}
			got := sample{UUID: hex.EncodeToString(h.UUID[:]), CTime: h.Created.Unix(), Header: want.Header, Devices: []blob{}}
			for _, c := range h.Configs {
				sum := sha256.Sum256(c.Data)
				got.Configs = append(got.Configs, blob{Name: c.Name, Size: int64(len(c.Data)), SHA256: hex.EncodeToString(sum[:])})
			}
			for _, d := range h.Devices {
				got.Devices = append(got.Devices, blob{DevID: d.ID, Name: d.Name, Size: d.Size})
			}
			for i := range want.Devices {
				want.Devices[i].SHA256 = "" // the header does not tell
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDamagedHeader(t *testing.T) {
	for name := range samples(t) {
		whole := open(t, name)
		for what, b := range map[string][]byte{
			"empty":     nil,
			"cut":       whole[:12500],
			"flipped":   append(append(bytes.Clone(whole[:100]), whole[100]^1), whole[101:]...),
			"no magic":  append([]byte("VMB\x00"), whole[4:]...),
			"version 2": append(append(bytes.Clone(whole[:7]), 2), whole[8:]...),
		} {
			if _, err := vma.ReadHeader(bytes.NewReader(b)); !errors.Is(err, vma.ErrFormat) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte("VMA\x00"))
	f.Add(append([]byte("VMA\x00\x00\x00\x00\x01"), make([]byte, 12280)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := vma.ReadHeader(bytes.NewReader(b))
		if err != nil && !errors.Is(err, vma.ErrFormat) {
			t.Fatal(err)
		}
		if err == nil && h == nil {
			t.Fatal("nothing was read")
		}
	})
}
