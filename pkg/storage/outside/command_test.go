package outside

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

// TestCommand: pvesm works with a type from outside as with any other.
func TestCommand(t *testing.T) {
	f := install(t)
	bin := filepath.Join(t.TempDir(), "pvesm")
	build := exec.Command("go", "build", "-o", bin, "./cmd/pvesm")
	build.Dir = conformance.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.MkdirAll(f.Root+"/etc/pve", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := f.Root + "/srv"
	for _, c := range []struct {
		args, want string
		fails      bool
	}{
		{"add example mine", "missing value for required option 'path'", true},
		{"add example mine --path " + dir + " --token hidden", "", false},
		{"set mine --path /elsewhere", "Unknown option: path", true},
		{"set mine --colour red", "Unknown option: colour", true},
		{"set mine --token other --content images,rootdir", "", false},
		{"status --storage mine", "example     active", false},
		{"alloc mine 100 '' 4M", "successfully created 'mine:vm-100-disk-0'", false},
		{"alloc mine 100 vm-100-data 4M", "successfully created 'mine:vm-100-data'", false},
		{"alloc mine 100 data 4M", "illegal name 'data'", true},
		{"list mine", "mine:vm-100-disk-0 raw ", false},
		{"path mine:vm-100-disk-0", dir + "/vm-100-disk-0/disk", false},
		{"free mine:vm-100-disk-0", "Removed volume 'mine:vm-100-disk-0'", false},
		{"list mine", "mine:vm-100-data", false},
		{"help add", "-token", false},
		{"remove mine", "", false},
	} {
		args := strings.Fields(c.args)
		for i, arg := range args {
			args[i] = strings.Trim(arg, "'")
		}
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "VIRTSMITH_ROOT="+f.Root, "VIRTSMITH_NODE=pve1")
		out, err := cmd.CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); failed != c.fails || !strings.Contains(string(out), c.want) {
			t.Errorf("pvesm %s: %v: %s", c.args, err, out)
		}
		if text, _ := os.ReadFile(f.Root + "/etc/pve/storage.cfg"); strings.Contains(string(text)+string(out), "hidden") {
			t.Errorf("pvesm %s: a secret is shown: %s%s", c.args, text, out)
		}
	}
	if _, err := os.Stat(f.Root + "/etc/pve/priv/storage/mine.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("secrets of a storage that is gone: %v", err)
	}
	if _, err := os.Stat(dir + "/vm-100-data/disk"); err != nil {
		t.Errorf("the volumes of a storage that was forgotten: %v", err)
	}
}
