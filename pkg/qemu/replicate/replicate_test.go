package replicate_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/replicate"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

const storages = "dir: local\n\tpath /var/lib/vz\n\tcontent backup,images,iso,rootdir\n\n" +
	"dir: nas\n\tpath /mnt/nas\n\tcontent images\n\tshared 1\n\n" +
	"zfspool: local-zfs\n\tpool nonexistent-testpool\n\tcontent images,rootdir\n"

func serve(t *testing.T, cfg string) *storage.Service {
	return storage.New(storage.Options{
		Root: t.TempDir(), Runner: run.NewFake(), Types: []storage.Type{dir.Type(), zfspool.Type()},
		Config: func(context.Context) (string, error) { return cfg, nil },
	})
}

func volumes(t *testing.T, s *storage.Service, vmid id.VM, text string, o replicate.Options) ([]string, error) {
	t.Helper()
	doc, err := qemu.ReadDoc(vmid, []byte(text), false, func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	return replicate.Volumes(t.Context(), s, vmid, doc, o)
}

func TestConformanceReplicatableVolumes(t *testing.T) {
	var suite struct {
		Environment struct {
			VMID    id.VM `json:"vmid"`
			Storage struct {
				IDs map[string]map[string]any `json:"ids"`
			} `json:"storage_config"`
		} `json:"environment"`
		Cases []struct {
			Name    string         `json:"name"`
			Config  string         `json:"config"`
			Error   string         `json:"error"`
			Volumes map[string]int `json:"volumes"`
		} `json:"cases"`
	}
	conformance.Load(t, "guest/qemu-replicatable-volumes", &suite)
	var cfg strings.Builder
	for _, name := range slices.Sorted(maps.Keys(suite.Environment.Storage.IDs)) {
		section := suite.Environment.Storage.IDs[name]
		fmt.Fprintf(&cfg, "%s: %s\n", section["type"], name)
		for key, value := range section {
			if contents, ok := value.(map[string]any); ok {
				value = strings.Join(slices.Sorted(maps.Keys(contents)), ",")
			}
			if key != "type" && key != "shared" {
				fmt.Fprintf(&cfg, "\t%s %v\n", key, value)
			}
		}
		cfg.WriteString("\n")
	}
	s := serve(t, cfg.String())
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := volumes(t, s, suite.Environment.VMID, c.Config, replicate.Options{})
			if text := strings.TrimSuffix(c.Error, "\n"); (err == nil) != (text == "") || err != nil && err.Error() != text {
				t.Errorf("error %v, want %q", err, text)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(c.Volumes)), got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOptions: what is not an error when it is asked for.
func TestOptions(t *testing.T) {
	const config = "scsi0: local-zfs:vm-900-disk-0,size=8G\nscsi1: /dev/disk/x\nscsi2: local:900/vm-900-disk-1.raw\n" +
		"scsi3: local-zfs:vm-900-disk-4,replicate=0\nscsi4: nas:900/vm-900-disk-1.raw\nide2: none,media=cdrom\nvmstate: local-zfs:vm-900-state-x\n"
	for _, c := range []struct {
		name string
		o    replicate.Options
		want []string
		err  string
	}{
		{"strict", replicate.Options{}, nil, "unable to replicate local file/device '/dev/disk/x'"},
		{"possible", replicate.Options{Possible: true}, []string{"local-zfs:vm-900-disk-0", "local-zfs:vm-900-state-x"}, ""},
		{"cleanup", replicate.Options{Cleanup: true}, []string{"local-zfs:vm-900-disk-0", "local-zfs:vm-900-disk-4", "local-zfs:vm-900-state-x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := volumes(t, serve(t, storages), 900, config, c.o)
			if fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
