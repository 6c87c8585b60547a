package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/backup"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

// a service with one storage, whose backups lie in the folder returned.
func service(t *testing.T) (*storage.Service, string) {
	t.Helper()
	root := t.TempDir()
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: []storage.Type{dir.Type()}, Zone: time.UTC,
		Config: func(context.Context) (string, error) {
			return "dir: it\n\tpath " + root + "/it\n\tcontent backup,iso\n", nil
		},
	})
	if err := s.Activate(t.Context(), "it"); err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(root, "it/dump")
}

// pack writes an archive through the program of a compression; "" is none.
func pack(t *testing.T, path string, data []byte, program ...string) {
	t.Helper()
	if len(program) > 0 {
		if _, err := exec.LookPath(program[0]); err != nil {
			t.Skipf("needs %s", program[0])
		}
		cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
		cmd.Stdin = bytes.NewReader(data)
		var err error
		if data, err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func container(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct{ name, text string }{{"./etc/hostname", "ct\n"}, {name, text}, {"./var/large", strings.Repeat("x", 8<<20)}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestContainerConfig(t *testing.T) {
	for ext, program := range map[string][]string{
		"tar": nil, "tar.gz": {"gzip"}, "tgz": {"gzip"}, "tar.zst": {"zstd", "-q"}, "tar.bz2": {"bzip2"}, "tar.lzo": {"lzop"},
	} {
		t.Run(ext, func(t *testing.T) {
			s, folder := service(t)
			name := "vzdump-lxc-200-2025_01_01-04_00_00." + ext
			pack(t, filepath.Join(folder, name), container(t, "./etc/vzdump/pct.conf", "hostname: ct\n"), program...)
			got, err := backup.Config(t.Context(), s, run.Host{}, id.Volume{Storage: "it", Name: "backup/" + name})
			if err != nil || string(got) != "hostname: ct\n" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestVMConfig(t *testing.T) {
	for ext, program := range map[string][]string{"vma": nil, "vma.gz": {"gzip"}, "vma.zst": {"zstd", "-q"}, "vma.lzo": {"lzop"}} {
		t.Run(ext, func(t *testing.T) {
			data, err := os.ReadFile(conformance.Path(t, "vma/two-disks.vma"))
			if err != nil {
				t.Skip("the sample archives are not on this machine")
			}
			s, folder := service(t)
			name := "vzdump-qemu-100-2025_01_01-04_00_00." + ext
			pack(t, filepath.Join(folder, name), data, program...)
			got, err := backup.Config(t.Context(), s, run.Host{}, id.Volume{Storage: "it", Name: "backup/" + name})
			if err != nil || !strings.Contains(string(got), "scsi0") || len(got) != 338 {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestNoConfig(t *testing.T) {
	s, folder := service(t)
	whole := container(t, "./etc/other.conf", "hostname: ct\n")
	for name, data := range map[string][]byte{
		"vzdump-lxc-200-2025_01_01-04_00_00.tar":     whole,
		"vzdump-lxc-201-2025_01_01-04_00_00.tar":     whole[:700],
		"vzdump-lxc-202-2025_01_01-04_00_00.tar.zst": []byte("no zstd"),
		"vzdump-qemu-100-2025_01_01-04_00_00.vma":    make([]byte, 1024),
		"vzdump-qemu-101-2025_01_01-04_00_00.vma.gz": []byte("no gzip"),
	} {
		pack(t, filepath.Join(folder, name), data)
		got, err := backup.Config(t.Context(), s, run.Host{}, id.Volume{Storage: "it", Name: "backup/" + name})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"backup/none.vma", "iso/x.iso"} {
		if _, err := backup.Config(t.Context(), s, run.Host{}, id.Volume{Storage: "it", Name: name}); err == nil {
			t.Errorf("%s has a configuration", name)
		}
	}
}
