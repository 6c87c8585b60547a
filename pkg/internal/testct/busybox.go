package testct

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// entry is one member of an archive.
type entry struct {
	name  string // as it stands in the archive
	kind  byte   // tar.TypeReg if 0
	mode  int64
	text  string
	link  string
	major int64
	minor int64
}

func dir(name string) entry        { return entry{name: name + "/", kind: tar.TypeDir, mode: 0o755} }
func file(name, text string) entry { return entry{name: name, mode: 0o644, text: text} }
func script(name, text string) entry {
	return entry{name: name, mode: 0o755, text: "#!/bin/sh\n" + text}
}
func symlink(name, to string) entry {
	return entry{name: name, kind: tar.TypeSymlink, mode: 0o777, link: to}
}
func hardlink(name, to string) entry {
	return entry{name: name, kind: tar.TypeLink, mode: 0o644, link: to}
}
func node(name string, kind byte, major, minor int64) entry {
	return entry{name: name, kind: kind, mode: 0o666, major: major, minor: minor}
}

// Busybox makes a template archive of a system of busybox alone, for the length of the test:
// alpine-3.99-busybox_1_amd64.tar.gz. It is taken for Alpine, brings its interfaces up, has a
// shell on the console and on tty1 and a web server on port 80.
func Busybox(t testing.TB) string {
	t.Helper()
	return BusyboxAs(t, "gz")
}

// BusyboxAs is Busybox with another compression: gz, zst, xz, bz2, or tar for none.
func BusyboxAs(t testing.TB, compression string) string {
	t.Helper()
	suffix := ".tar." + compression
	if compression == "tar" {
		suffix = ".tar"
	}
	at := filepath.Join(t.TempDir(), "alpine-3.99-busybox_1_amd64"+suffix)
	pack(t, at, compression, busyboxTree(t))
	return at
}

// busyboxPath finds a busybox that needs no libraries.
func busyboxPath() (string, error) {
	at, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("templates of tests need the package busybox-static: %w", err)
	}
	f, err := elf.Open(at)
	if err != nil {
		return "", fmt.Errorf("%s: %w", at, err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		return "", errors.New("templates of tests need the package busybox-static: this busybox needs libraries")
	}
	return at, nil
}

// busyboxTree is the system that Busybox packs.
func busyboxTree(t testing.TB) []entry {
	t.Helper()
	at, err := busyboxPath()
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	applets, err := exec.CommandContext(t.Context(), at, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	tree := []entry{dir(".")}
	for name := range strings.FieldsSeq("bin sbin usr usr/bin usr/sbin etc etc/network etc/network/if-up.d etc/network/if-pre-up.d " +
		"etc/network/if-down.d etc/network/if-post-down.d etc/init.d dev proc sys run root var var/log www mnt") {
		tree = append(tree, dir("./"+name))
	}
	tree = append(tree,
		symlink("./var/run", "../run"),
		entry{name: "./tmp/", kind: tar.TypeDir, mode: 0o1777},
		entry{name: "./bin/busybox", mode: 0o755, text: string(program)})
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			tree = append(tree, symlink("./bin/"+name, "busybox"))
		}
	}
	return append(tree,
		symlink("./sbin/init", "../bin/busybox"),
		file("./etc/alpine-release", "3.99.0\n"),
		file("./etc/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.99.0\nPRETTY_NAME=\"busybox test container\"\n"),
		file("./etc/passwd", "root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
		entry{name: "./etc/shadow", mode: 0o640, text: "root:*:19000:0:99999:7:::\n"},
		file("./etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
		file("./etc/hosts", "127.0.0.1 localhost\n"),
		file("./etc/hostname", "testct\n"),
		file("./etc/network/interfaces", "auto lo\niface lo inet loopback\n"),
		file("./etc/inittab", `::sysinit:/etc/init.d/rcS
::respawn:-/bin/sh </dev/console >/dev/console 2>&1
tty1::respawn:/bin/getty -n -l /bin/sh 38400 tty1
tty2::respawn:/bin/getty -n -l /bin/sh 38400 tty2
::shutdown:/etc/init.d/rcK
::restart:/sbin/init
`),
		script("./etc/init.d/rcS", `export PATH=/bin:/sbin
mount -t tmpfs run /run 2>/dev/null
[ -s /etc/hostname ] && hostname "$(cat /etc/hostname)" 2>/dev/null
ip link set lo up; ifup -a 2>/dev/null
echo "hello from $(hostname)" >/www/index.html; httpd -p 80 -h /www
echo "`+Ready+` $(hostname)" >/dev/console
`),
		script("./etc/init.d/rcK", "echo "+Down+" >/dev/console\nsync\n"))
}

// pack writes an archive; what it cannot compress skips the test.
func pack(t testing.TB, at, compression string, tree []entry) {
	t.Helper()
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain := &bytes.Buffer{}
	if err := writeTar(plain, tree); err != nil {
		t.Fatal(err)
	}
	program := []string{}
	switch compression {
	case "tar":
		_, err = plain.WriteTo(f)
	case "gz":
		err = compress(f, plain.Bytes())
	case "zst":
		program = []string{"zstd", "-q", "-1", "-c"}
	case "xz":
		program = []string{"xz", "-0", "-c"}
	case "bz2":
		program = []string{"bzip2", "-1", "-c"}
	default:
		t.Fatalf("no compression of templates: %s", compression)
	}
	if len(program) > 0 {
		if _, err := exec.LookPath(program[0]); err != nil {
			t.Skip(err)
		}
		cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
		cmd.Stdin, cmd.Stdout = plain, f
		err = cmd.Run()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func compress(w io.Writer, text []byte) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	_, err = z.Write(text)
	return errors.Join(err, z.Close())
}

// writeTar writes the members as they are, be they as hostile as they may.
func writeTar(w io.Writer, tree []entry) error {
	out := tar.NewWriter(w)
	for _, e := range tree {
		h := &tar.Header{
			Name: e.name, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.text)), Linkname: e.link, Uname: "root", Gname: "root",
			Devmajor: e.major, Devminor: e.minor, ModTime: time.Unix(1700000000, 0), Format: tar.FormatGNU,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", path.Clean(e.name), err)
		}
		if _, err := io.WriteString(out, e.text); err != nil {
			return err
		}
	}
	return out.Close()
}
