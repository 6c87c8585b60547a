package restore_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/restore"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

const stored = `#Notes
arch: amd64
hostname: web
memory: 256
mp0: local:200/vm-200-disk-1.raw,mp=/data,backup=1,size=512M
mp1: /srv/shared,mp=/mnt,ro=1
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:C0:00:01,ip=dhcp,type=veth
ostype: debian
parent: clean
rootfs: local:200/vm-200-disk-0.raw,size=4G
unprivileged: 1
unused0: local:200/vm-200-disk-7.raw
lxc.environment.runtime: A=1
lxc.cgroup2.devices.allow: c 10:200 rwm

[clean]
memory: 128
`

// backup is an archive of vzdump: names and contents by turns.
func backup(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(pairs); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: pairs[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(pairs[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(out.Bytes(), nil)
}

func source(text []byte) *unpack.Source {
	return &unpack.Source{Name: "local:backup/x.tar.zst", Reader: bytes.NewReader(text), Size: int64(len(text))}
}

func TestRead(t *testing.T) {
	large := strings.Repeat("x", 2<<20)
	for name, c := range map[string]struct {
		text     []byte
		config   string
		firewall string
		err      string
	}{
		"both":            {text: backup(t, "./etc/vzdump/pct.conf", stored, "./etc/vzdump/pct.fw", "[OPTIONS]\n", "./x", ""), config: stored, firewall: "[OPTIONS]\n"},
		"configuration":   {text: backup(t, "./etc/vzdump/pct.conf", "a: b\n", "./x", "", "./etc/vzdump/pct.fw", "late"), config: "a: b\n"},
		"alone":           {text: backup(t, "./etc/vzdump/pct.conf", "a: b\n"), config: "a: b\n"},
		"empty firewall":  {text: backup(t, "./etc/vzdump/pct.conf", "a: b\n", "./etc/vzdump/pct.fw", ""), config: "a: b\n"},
		"no backup":       {text: backup(t, "./x", ""), err: "archive contains no configuration file"},
		"OpenVZ":          {text: backup(t, "./etc/vzdump/vps.conf", "x"), err: "the backup is of an OpenVZ container, whose configuration cannot be restored"},
		"too large":       {text: backup(t, "./etc/vzdump/pct.conf", large), err: "archive 'local:backup/x.tar.zst': member './etc/vzdump/pct.conf': it is too large for a configuration"},
		"truncated":       {text: backup(t, "./x", "y", "./etc/vzdump/pct.conf", stored)[:60], err: "archive 'local:backup/x.tar.zst': the archive is damaged or incomplete: it ends early"},
		"not an archive":  {text: bytes.Repeat([]byte("x"), 600), err: "archive 'local:backup/x.tar.zst': the archive is damaged or incomplete: archive/tar: invalid tar header"},
		"nothing in here": {err: "archive 'local:backup/x.tar.zst': the archive is damaged or incomplete: it is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := restore.Read(t.Context(), source(c.text), unpack.Options{})
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(b.Config) != c.config || string(b.Firewall) != c.firewall {
				t.Errorf("%q, %q", b.Config, b.Firewall)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	doc, err := (&restore.Backup{Config: []byte(stored)}).Doc(200, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	if doc.Snapshots != nil || doc.Values["description"] != "Notes\n" && doc.Values["description"] != "Notes" {
		t.Errorf("%+v", doc)
	}
	got, err := restore.Plan(doc.Values, "fast", true)
	if err != nil {
		t.Fatal(err)
	}
	want := restore.Volumes{
		New:     schema.Params{"rootfs": "fast:4", "mp0": "fast:0.5,mp=/data,backup=1"},
		Delayed: schema.Params{"mp1": "/srv/shared,mp=/mnt,ro=1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, c := range map[string]struct {
		values schema.Params
		user   bool
		empty  []string
		warns  int
		err    string
	}{
		"no root":       {values: schema.Params{"mp0": "local:1"}, err: "rootfs configuration could not be recovered, please check and specify manually!"},
		"no size":       {values: schema.Params{"rootfs": "local:x"}, err: "unable to detect disk size - please specify rootfs (size)"},
		"root is bound": {values: schema.Params{"rootfs": "/srv/x"}, err: "restoring rootfs to bind mount is only possible by specifying -rootfs manually!"},
		"device":        {values: schema.Params{"rootfs": "local:x,size=1G", "mp0": "/dev/sdx,mp=/x"}, user: true, err: "restoring 'mp0' to device mount is only possible for root"},
		"backed up":     {values: schema.Params{"rootfs": "local:x,size=1G", "mp0": "/srv,mp=/x,backup=1"}, warns: 4},
		"not backed up": {values: schema.Params{"rootfs": "local:x,size=1G", "mp3": "local:y,mp=/x,size=1G"}, empty: []string{"mp3"}},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := restore.Plan(c.values, "fast", !c.user)
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if err == nil && (!cmp.Equal(v.Empty, c.empty) || len(v.Warnings) != c.warns) {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	doc, err := (&restore.Backup{Config: []byte(stored)}).Doc(200, nil)
	if err != nil {
		t.Fatal(err)
	}
	mac := func() (string, error) { return "BC:24:11:00:00:99", nil }
	values := schema.Params{"memory": "1024", "rootfs": "fast:300/x"}
	skipped, err := restore.Merge{Restricted: true, Unique: true, NewMAC: mac}.Into(values, doc.Values)
	if err != nil {
		t.Fatal(err)
	}
	want := schema.Params{
		"arch": "amd64", "description": doc.Values["description"], "env": "A=1", "hostname": "web", "memory": "1024", "ostype": "debian", "rootfs": "fast:300/x",
		"net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:99,ip=dhcp,type=veth",
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]container.RawLine{{Key: "lxc.cgroup2.devices.allow", Value: "c 10:200 rwm"}}, skipped); diff != "" {
		t.Error(diff)
	}
	rule := "--------------------------------\n"
	if got := restore.SkippedText(skipped); got != "skipping custom lxc options, restore manually as root:\n"+rule+"lxc.cgroup2.devices.allow: c 10:200 rwm\n"+rule {
		t.Error(got)
	}
	values = schema.Params{}
	if skipped, err := (restore.Merge{}).Into(values, doc.Values); err != nil || len(skipped) != 0 || len(container.RawLines(values)) != 1 || values["net0"] != doc.Values["net0"] {
		t.Errorf("%v, %v, %v", values, skipped, err)
	}
	broken := errors.New("no address is free")
	if _, err := (restore.Merge{Unique: true, NewMAC: func() (string, error) { return "", broken }}).Into(schema.Params{}, doc.Values); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestTakeOut unpacks a backup and removes what vzdump added.
func TestTakeOut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root unpacks the files of containers")
	}
	at := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	text := backup(t, "./etc/vzdump/pct.conf", stored, "./etc/vzdump/pct.fw", "[OPTIONS]\n", "./etc/hostname", "web\n")
	if _, err := unpack.Template(t.Context(), source(text), at, unpack.Options{IDs: idmap.Default()}); err != nil {
		t.Fatal(err)
	}
	root, err := rootfs.Open(at, rootfs.Owner{UID: 100000, GID: 100000})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for n, want := range []string{"[OPTIONS]\n", ""} { // the second time there is nothing
		firewall, err := restore.TakeOut(root)
		if err != nil || string(firewall) != want {
			t.Errorf("%d: %q, %v", n, firewall, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(at, "etc/vzdump/*")); len(left) > 0 {
		t.Error(left)
	}
	if got := unpack.Architecture(t.Context(), root); got != "amd64" {
		t.Error(got)
	}
	// What the container put there itself leads nowhere.
	if err := os.Symlink("/etc/shadow", filepath.Join(at, "etc/vzdump/pct.fw")); err != nil {
		t.Fatal(err)
	}
	if firewall, err := restore.TakeOut(root); err != nil || firewall != nil {
		t.Errorf("%q, %v", firewall, err)
	}
}
