package volumes

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestIsProtected(t *testing.T) {
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("no mkfs.ext4 on this machine")
	}
	dir := t.TempDir()
	image := func(name string, size int64, args ...string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if args != nil {
			if out, err := exec.Command(mkfs, append(append([]string{"-q"}, args...), path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		return path
	}
	for path, want := range map[string]bool{
		image("mmp", 8<<20, "-O", "mmp"):   true,
		image("ext4", 8<<20, "-O", "^mmp"): false,
		image("empty", 8<<20):              false,
		image("short", 100):                false,
	} {
		if got, err := isProtected(path); err != nil || got != want {
			t.Errorf("%s: %t, %v", filepath.Base(path), got, err)
		}
	}
	if _, err := isProtected(filepath.Join(dir, "none")); err == nil {
		t.Error("what is not there is no error")
	}
}
