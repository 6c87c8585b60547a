package pct

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// TestSetVolumes leads a volume through its life as a mount point.
func TestSetVolumes(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	config := n.path(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, id))
	if err := os.WriteFile(config, []byte("arch: amd64\nostype: alpine\nmemory: 64\nrootfs: local:0,size=1G\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	volumes := func() string {
		found, _ := filepath.Glob(n.path(fmt.Sprintf("var/lib/vz/images/%d/*", id)))
		for i, name := range found {
			found[i] = filepath.Base(name)
		}
		return strings.ReplaceAll(strings.Join(found, " "), fmt.Sprint(id), "ID")
	}
	lines := func() string {
		var kept []string
		for line := range strings.Lines(n.config(id)) {
			if key, _, _ := strings.Cut(line, ":"); strings.HasPrefix(key, "mp") || strings.HasPrefix(key, "unused") || key == "protection" || key == "lock" {
				kept = append(kept, strings.ReplaceAll(line, fmt.Sprint(id), "ID"))
			}
		}
		slices.Sort(kept)
		return strings.Join(kept, "")
	}
	const first, second = "mp0: local:ID/vm-ID-disk-0.raw,mp=/a,size=10M\n", "local:ID/vm-ID-disk-1.raw"
	for _, step := range []struct {
		args          []string
		fails         string
		config, files string
	}{
		{[]string{"--mp0", "local:0.01,mp=/a"}, "", first, "vm-ID-disk-0.raw"},
		{[]string{"--mp0", "local:0.01,mp=/a", "--mp1", "nosuch:1,mp=/b"}, "storage 'nosuch' does not exist", first, "vm-ID-disk-0.raw"},
		{[]string{"--mp1", "local:0.01,mp=/b", "--mp2", "local:4194305,mp=/b"}, "too large", first, "vm-ID-disk-0.raw"},
		{[]string{"--rootfs", "local:1"}, "cannot be made anew", first, "vm-ID-disk-0.raw"},
		{
			[]string{"--mp0", "local:0.01,mp=/a,ro=1"}, "", "mp0: " + second + ",mp=/a,ro=1,size=10M\nunused0: local:ID/vm-ID-disk-0.raw\n",
			"vm-ID-disk-0.raw vm-ID-disk-1.raw",
		},
		{[]string{"--protection", "1"}, "", "mp0: " + second + ",mp=/a,ro=1,size=10M\nprotection: 1\nunused0: local:ID/vm-ID-disk-0.raw\n", "vm-ID-disk-0.raw vm-ID-disk-1.raw"},
		{
			[]string{"--delete", "unused0"}, "protection mode enabled",
			"mp0: " + second + ",mp=/a,ro=1,size=10M\nprotection: 1\nunused0: local:ID/vm-ID-disk-0.raw\n", "vm-ID-disk-0.raw vm-ID-disk-1.raw",
		},
		{[]string{"--delete", "protection"}, "", "mp0: " + second + ",mp=/a,ro=1,size=10M\nunused0: local:ID/vm-ID-disk-0.raw\n", "vm-ID-disk-0.raw vm-ID-disk-1.raw"},
		{[]string{"--delete", "unused0"}, "", "mp0: " + second + ",mp=/a,ro=1,size=10M\n", "vm-ID-disk-1.raw"},
		{[]string{"--delete", "mp0"}, "", "unused0: " + second + "\n", "vm-ID-disk-1.raw"},
		{[]string{"--mp3", fmt.Sprintf("local:%d/vm-%d-disk-1.raw,mp=/c", id, id)}, "", "mp3: " + second + ",mp=/c,size=10M\n", "vm-ID-disk-1.raw"},
		{[]string{"--unprivileged", "1"}, "unable to modify read-only option: 'unprivileged'", "mp3: " + second + ",mp=/c,size=10M\n", "vm-ID-disk-1.raw"},
		{[]string{"--delete", "arch"}, "unable to delete required option 'arch'", "mp3: " + second + ",mp=/c,size=10M\n", "vm-ID-disk-1.raw"},
	} {
		t.Run(strings.Join(step.args, " "), func(t *testing.T) {
			n := &testNode{t, n.root, n.pct}
			out, err := n.try(append([]string{"set", fmt.Sprint(id)}, step.args...)...)
			if (err != nil) != (step.fails != "") || !strings.Contains(out, step.fails) {
				t.Errorf("%v\n%s", err, out)
			}
			if got := lines(); got != step.config {
				t.Errorf("configured\n%swant\n%s", got, step.config)
			}
			if got := volumes(); got != step.files {
				t.Errorf("volumes %s, want %s", got, step.files)
			}
		})
	}
}
