package storage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/all"
)

// FuzzParse: whatever storage.cfg holds, what is read from it can be used.
func FuzzParse(f *testing.F) {
	f.Add("dir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n\n")
	f.Add("dir: a\n\tdisable\n")
	f.Add("nfs: nas\n\tserver x\n\texport /y\n\tnodes a,b\n#c\n\ndir: twice\n path /x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range storage.Parse(all.Types(), "storage.cfg", text).Storages {
			if d.ID == "" || d.Type == "" || d.Options == nil {
				t.Errorf("%+v", d)
			}
			if d.Type == "dir" && d.Options["path"] == "" {
				t.Errorf("no path: %+v", d)
			}
		}
	})
}

// FuzzImageInfo: an image made to harm is not read beyond what an image is.
func FuzzImageInfo(f *testing.F) {
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Add(make([]byte, 104))
	f.Fuzz(func(t *testing.T, image []byte) {
		path := filepath.Join(t.TempDir(), "x.qcow2")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := storage.ImageInfo(t.Context(), storage.Env{Runner: run.NewFake(), QEMUImg: "qemu-img"}, path, "qcow2")
		if err == nil && (info.Size < 0 || len(info.Parent) > 1023) {
			t.Errorf("%+v", info)
		}
	})
}
