package pct

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// backup makes a backup as vzdump writes it: a template with a configuration and firewall
// rules in front.
func backup(t *testing.T, config, rules string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "vzdump-lxc-100-2026_01_01-00_00_00.tar")
	in, err := os.Open(testct.BusyboxAs(t, "tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(out)
	for _, f := range [][2]string{{"./etc/vzdump/pct.conf", config}, {"./etc/vzdump/pct.fw", rules}} {
		err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o640, Size: int64(len(f[1])), Typeflag: tar.TypeReg})
		if _, failed := io.WriteString(w, f[1]); err != nil || failed != nil {
			t.Fatal(err, failed)
		}
	}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestRestore(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	const rules = "[OPTIONS]\n\nenable: 1\n"
	archive := backup(t, "#note\narch: amd64\nhostname: before\nmemory: 77\nmp0: local:100/x.raw,mp=/data,size=32M,backup=1\n"+
		"net0: name=eth0,hwaddr=BC:24:11:00:00:01,type=veth\nostype: alpine\nrootfs: local:100/y.raw,size=64M\nswap: 0\nunprivileged: 1\nlxc.cap.drop: sys_time\n\n"+
		"[snap]\nmemory: 1\n", rules)

	out := n.do("restore", fmt.Sprint(id), archive, "--storage", "local", "--memory", "99")
	text := n.config(id)
	for _, want := range []string{
		"#note\n", "hostname: before\n", "memory: 99\n", "swap: 0\n", "unprivileged: 1\n", "lxc.cap.drop: sys_time\n", "hwaddr=BC:24:11:00:00:01",
		fmt.Sprintf("rootfs: local:%d/vm-%d-disk-", id, id), "mp=/data,backup=1,size=32M",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "lock") || strings.Contains(text, "[snap]") {
		t.Error(text)
	}
	for _, want := range []string{"recovering backed-up configuration from '", "restoring '", "merging backed-up and given configuration..\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got, _ := os.ReadFile(n.path(fmt.Sprintf("etc/pve/firewall/%d.fw", id))); string(got) != rules {
		t.Errorf("firewall %q", got)
	}

	t.Run("in the place of another", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		before := n.config(id)
		if out, err := n.try("restore", fmt.Sprint(id), archive); err == nil || !strings.Contains(out, "already exists") {
			t.Errorf("%v\n%s", err, out)
		}
		// One that fails leaves the old container as it was.
		if out, err := n.try("restore", fmt.Sprint(id), archive, "--force", "--rootfs", "0.002"); err == nil {
			t.Error(out)
		}
		if n.config(id) != before {
			t.Errorf("before\n%safter\n%s", before, n.config(id))
		}
		n.do("restore", fmt.Sprint(id), archive, "--force", "--unique", "--rootfs", "local:0")
		after := n.config(id)
		if strings.Contains(after, "unused") || strings.Contains(after, "hwaddr=BC:24:11:00:00:01") || !strings.Contains(after, "memory: 77") {
			t.Error(after)
		}
		if _, err := os.Stat(filepath.Dir(n.path("var/lib/vz/images/") + "x")); err != nil {
			t.Error(err)
		}
		n.inside(id, "bin/busybox")
	})
	n.do("destroy", fmt.Sprint(id))
	n.checkNothing(id)
}

func TestRestoreOfTemplate(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	n.do("restore", fmt.Sprint(id), backup(t, "arch: amd64\nostype: alpine\nrootfs: local:100/base-100-disk-0.raw,size=64M\ntemplate: 1\n", ""))
	if text := n.config(id); !strings.Contains(text, "template: 1\n") || !strings.Contains(text, "/base-") {
		t.Error(text)
	}
	n.do("destroy", fmt.Sprint(id))
	n.checkNothing(id)
}

func TestRestoreTemplate(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	out, err := n.try("restore", fmt.Sprint(id), testct.Busybox(t))
	if err == nil || !strings.Contains(out, fmt.Sprintf("unable to restore CT %d - archive contains no configuration file", id)) {
		t.Errorf("%v\n%s", err, out)
	}
	n.checkNothing(id)
}

// TestDestroyRunning starts a container at its creation and destroys it as it runs.
func TestDestroyRunning(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	n.do("create", fmt.Sprint(id), testct.Busybox(t), "--rootfs", "local:0", "--start", "1")
	if out := n.do("status", fmt.Sprint(id)); out != "status: running\n" {
		t.Error(out)
	}
	if out, err := n.try("destroy", fmt.Sprint(id)); err == nil || !strings.Contains(out, "container is running") {
		t.Errorf("%v\n%s", err, out)
	}
	n.do("set", fmt.Sprint(id), "--hostname", "other", "--timezone", "host", "--mp0", "local:0.03,mp=/data")
	if out := n.do("pending", fmt.Sprint(id)); !strings.Contains(out, "cur hostname: other\n") || !strings.Contains(out, "new timezone: host\n") {
		t.Error(out)
	}
	n.do("destroy", fmt.Sprint(id), "--force", "1")
	n.checkNothing(id)
}
