package pct

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// TestVolumes goes with the volumes of a container through their life: made, looked at while
// it runs and while it does not, mounted on the host, moved, given to another mount point,
// and made a template.
func TestVolumes(t *testing.T) {
	testct.Require(t)
	root, pct := testct.Root(t), program(t)
	id := strconv.Itoa(testct.ID(t))
	try := func(args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), pct, args...)
		c.Env = append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE="+testct.Node, "LC_ALL=C")
		out, err := c.CombinedOutput()
		return string(out), err
	}
	do := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Fatalf("pct %v: %v\n%s", args, err, out)
		}
		return out
	}
	has := func(text, pattern string) {
		t.Helper()
		if !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no %q in:\n%s", pattern, text)
		}
	}
	cfg, err := os.OpenFile(filepath.Join(root, "etc/pve/storage.cfg"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.WriteString("\ndir: other\n\tpath " + root + "/other\n\tcontent rootdir\n"); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Close(); err != nil {
		t.Fatal(err)
	}
	do("create", id, testct.Busybox(t), "--rootfs", "local:0.1", "--mp0", "local:0.1,mp=/data", "--unprivileged", "1", "--hostname", "vol", "--memory", "64")
	table := `(?m)^rootfs +local:\S+ +\d+\.\dM +\d+\.\dM +\d+\.\dM +0\.\d /$\n^mp0 +local:\S+ .* /data$`
	has(do("df", id), table)

	do("start", id)
	do("exec", id, "--", "sh", "-c", "echo kept >/data/file; chown 33:33 /data/file; sync")
	has(do("df", id), table)
	has(do("fstrim", id), `/data: .* bytes\) trimmed`)
	out, err := try("resize", id, "mp0", "+100M")
	if err == nil {
		if size := do("exec", id, "--", "sh", "-c", "df -m /data | tail -n 1"); !regexp.MustCompile(`\s1[5-9]\d\s`).MatchString(size) {
			t.Errorf("mp0 is seen as:\n%s", size)
		}
	} else if !strings.Contains(out, "CAP_SYS_RESOURCE") {
		t.Errorf("resize: %s", out)
	}
	if out, err := try("move-volume", id, "rootfs", "other"); err == nil || out != "cannot move volumes of a running container\n" {
		t.Errorf("%s", out)
	}
	do("stop", id)

	do("move-volume", id, "rootfs", "other", "--delete", "1")
	do("move-volume", id, "mp0", "other", "--delete", "1")
	do("start", id)
	if got := do("exec", id, "--", "sh", "-c", "cat /data/file; stat -c %u:%g /data/file; mount"); !strings.HasPrefix(got, "kept\n33:33\n") {
		t.Errorf("%s", got)
	}
	do("stop", id)

	has(do("mount", id), "^mounted CT "+id+" in '"+root+"/var/lib/lxc/"+id+"/rootfs'\n$")
	if text, err := os.ReadFile(filepath.Join(root, "var/lib/lxc", id, "rootfs/data/file")); string(text) != "kept\n" {
		t.Errorf("%q, %v", text, err)
	}
	if out, err := try("start", id); err == nil {
		t.Errorf("it starts while it is mounted: %s", out)
	}
	do("unmount", id)

	do("template", id)
	has(do("config", id), `(?m)^mp0: other:`+id+`/base-`+id+`-disk-1\.raw,mp=/data,size=\d+M$`)
	do("destroy", id)
	if left, _ := filepath.Glob(filepath.Join(root, "other/images/*/*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
