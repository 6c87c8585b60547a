package storage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

// addressed is a storage of a type that the project does not have yet: it only knows how
// its volumes are addressed.
type addressed struct {
	storage.Pool
	path  func(name, snap string) string
	image func(name, snap string, target bool) (storage.Image, error)
}

func (a addressed) Parse(name string) (storage.Name, error) {
	n := storage.Name{Content: storage.Images, File: name, Format: "raw"}
	if strings.HasSuffix(name, ".qcow2") {
		n.Format = "qcow2"
	}
	return n, nil
}

func (a addressed) Path(name, snap string) (string, error) { return a.path(name, snap), nil }

func (a addressed) Image(_ context.Context, name, snap string, target bool) (storage.Image, error) {
	if a.image == nil {
		return storage.PlainImage(a, name, snap)
	}
	return a.image(name, snap, target)
}

func stand(name string, a addressed) storage.Type {
	return storage.NewType(storage.Type{Name: name, Contents: storage.AllContents()},
		func(struct{}, storage.Env) (storage.Pool, error) { return a, nil })
}

// stands are how volumes of the types in the suite are addressed there.
func stands(initiator string) []storage.Type {
	lvm := func(name, snap string) string {
		if snap != "" {
			bare, ext, found := strings.Cut(name, ".")
			name = "snap_" + bare + "_" + snap
			if found {
				name += "." + ext
			}
		}
		return "/dev/pve/" + name
	}
	return []storage.Type{
		dir.Type(),
		stand("lvmthin", addressed{path: lvm}),
		stand("lvm", addressed{path: lvm, image: func(name, snap string, target bool) (storage.Image, error) {
			if target {
				return storage.Image{Options: true, Path: "discard-no-unref=true,driver=qcow2,file.driver=host_device,file.filename=/dev/pve/" + name}, nil
			}
			return storage.Image{Path: lvm(name, snap), Format: "qcow2"}, nil
		}}),
		stand("rbd", addressed{path: func(name, snap string) string {
			if snap != "" {
				name += "@" + snap
			}
			return `rbd:cpool/` + name + `:mon_host=127.0.0.42;127.0.0.21;[\:\:1]:auth_supported=none`
		}}),
		stand("zfs", addressed{image: func(string, string, bool) (storage.Image, error) {
			return storage.ISCSIImage("iscsi://127.0.0.1/iqn.2019-10.org.test:foobar/1", initiator)
		}}),
	}
}

func TestConformanceQemuImgConvert(t *testing.T) {
	var suite struct {
		Environment struct {
			Initiator string `json:"iscsi_initiator_name"`
			Storage   struct {
				IDs map[id.Storage]struct{ Type, Path string }
			} `json:"storage_config"`
		}
		Cases []struct {
			Name, Source, Target, Error string
			Argv                        []string
			Options                     struct {
				Snapname string
				Zeroed   int `json:"is-zero-initialized"`
				BWLimit  int
			}
		}
	}
	conformance.Load(t, "guest/qemu-img-convert", &suite)
	// Stock qemu-img has no zeroinit filter: a flag says the same.
	spelled := map[string]func([]string) []string{"zeroinit": func(argv []string) []string {
		argv[len(argv)-1] = strings.TrimPrefix(argv[len(argv)-1], "zeroinit:")
		return append(argv[:4:4], append([]string{"--target-is-zero"}, argv[4:]...)...)
	}}
	var cfg strings.Builder
	for name, d := range suite.Environment.Storage.IDs {
		cfg.WriteString(d.Type + ": " + string(name) + "\n")
		if d.Path != "" {
			cfg.WriteString("\tpath " + d.Path + "\n")
		}
		cfg.WriteString("\n")
	}
	s := storage.New(storage.Options{
		Types:  stands(suite.Environment.Initiator),
		Config: func(context.Context) (string, error) { return cfg.String(), nil },
	})
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			source, err := s.Image(t.Context(), c.Source, c.Options.Snapname, false)
			target, err2 := s.Image(t.Context(), c.Target, "", true)
			if err := errors.Join(err, err2); err != nil {
				if c.Error != err.Error()+"\n" {
					t.Fatal(err)
				}
				return
			}
			got := append([]string{"/usr/bin/qemu-img"}, storage.ConvertArgs(source, target, storage.ConvertOptions{
				Zeroed: c.Options.Zeroed != 0, BWLimit: c.Options.BWLimit,
			})...)
			want := c.Argv
			if spell := spelled[c.Name]; spell != nil {
				want = spell(want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestISCSIImage(t *testing.T) {
	for _, bad := range []string{"", "iscsi://", "iscsi://a/b", "nfs://a/b/c"} {
		if _, err := storage.ISCSIImage(bad, ""); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// A brim is a storage that has so much left.
type brim struct {
	addressed
	left int64
}

func (brim) Activate(context.Context) error { return nil }

func (b brim) Status(context.Context) (storage.Status, error) {
	return storage.Status{Total: 64 << 20, Used: 64<<20 - b.left, Available: b.left}, nil
}

func (brim) Info(context.Context, string) (storage.Info, error) {
	return storage.Info{Size: 1 << 20, Format: "raw"}, nil
}

// TestFullWithoutWords: a copy fails because there is no room, which the error does not say.
func TestFullWithoutWords(t *testing.T) {
	for name, c := range map[string]struct {
		left   int64
		stderr string
		full   bool
	}{
		"full":       {4096, "NOT READY", true},
		"not full":   {32 << 20, "NOT READY", false},
		"it says so": {0, "No space left on device", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name, _ string) string { return filepath.Join(dir, name) }
			if err := os.WriteFile(at("a", ""), make([]byte, 4096), 0o600); err != nil {
				t.Fatal(err)
			}
			failed := run.Exchange{Args: []string{"/bin/qemu-img", "convert", "-p", "-n", "-f", "raw", "-O", "raw", at("a", ""), at("b", "")}, Stderr: c.stderr, Exit: 1}
			s := storage.New(storage.Options{
				QEMUImg: "/bin/qemu-img", Runner: run.NewFake(failed),
				Types: []storage.Type{storage.NewType(storage.Type{Name: "brim", Contents: storage.AllContents()},
					func(struct{}, storage.Env) (storage.Pool, error) {
						return brim{addressed{path: at}, c.left}, nil
					})},
				Config: func(context.Context) (string, error) { return "brim: full\n", nil },
			})
			err := s.Convert(t.Context(), "full:a", "full:b", storage.ConvertOptions{Progress: func(int64, int64) {}})
			if err == nil || strings.Contains(err.Error(), "\nstorage 'full' is full: 4.00 KiB of 64.00 MiB are left") != c.full {
				t.Error(err)
			}
		})
	}
}
