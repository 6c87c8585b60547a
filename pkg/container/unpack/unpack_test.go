package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// maps are the two kinds of containers.
func maps() map[string]idmap.Map {
	return map[string]idmap.Map{"privileged": nil, "unprivileged": idmap.Default()}
}

// sample is an archive with one member of each kind.
func sample(t testing.TB) []byte {
	long := "./usr/" + strings.Repeat("long-name/", 30) + "file"
	owned := file("./usr/owned", "x")
	owned.Uid, owned.Gid, owned.Mode = 1000, 65534, 0o4751
	pax := file("./usr/attr", "x")
	pax.Mode = 0o755
	pax.PAXRecords = map[string]string{
		"SCHILY.xattr.user.note":           "hello",
		"SCHILY.xattr.trusted.secret":      "x",
		"SCHILY.xattr.security.selinux":    "x",
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.acl.access":                "user::rwx\nuser:33:r-x\ngroup::r-x\nmask::r-x\nother::r-x\n",
	}
	fifo := member{tar.Header{Name: "./run/fifo", Typeflag: tar.TypeFifo, Mode: 0o620}, ""}
	sticky := dir("./tmp", 0o1777)
	sticky.ModTime = time.Unix(1700000000, 0)
	aclDir := dir("./acl", 0o2755)
	aclDir.PAXRecords = map[string]string{"SCHILY.acl.default": "user::rwx\ngroup::r-x\ngroup:7:rwx\nmask::rwx\nother::---"}
	last := file("tmp/late", "late") // "./tmp" keeps its time
	last.ModTime = time.Unix(1600000000, 0)
	return archive(t, dir("./", 0o755), dir("./usr", 0o755), owned, pax, file(long, "deep"), symlink("./bin", "usr/bin"), symlink("./abs", "/usr/owned"),
		dir("./usr/bin", 0o555), file("./bin/sh", "shell"), hardlink("./usr/hard", "./usr/owned"), dir("./run", 0o755), fifo, sticky, aclDir, last,
		member{tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, ""},
		member{tar.Header{Name: "./run/zero", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5, Mode: 0o666}, ""},
		file("./big", strings.Repeat("0123456789", 300_000)), file("./empty", ""))
}

func TestTemplate(t *testing.T) {
	needRoot(t)
	plain := sample(t)
	packed := map[string][]byte{"plain": plain, "gzip": gzipped(t, plain), "zstd": zstandard(t, plain)}
	for _, name := range []string{"xz", "bzip2"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Logf("without %s: %v", name, err)
			continue
		}
		cmd := exec.CommandContext(t.Context(), name, "-c")
		cmd.Stdin = bytes.NewReader(plain)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		packed[name] = out
	}
	for kind, ids := range maps() {
		var first []string
		for name, text := range packed {
			t.Run(kind+"/"+name, func(t *testing.T) {
				root := newRoot(t)
				ctx, out := said(t)
				var read int64
				r, err := unpack.Template(ctx, source(text), root, unpack.Options{IDs: ids, Progress: func(n int64) { read = n }})
				if err != nil {
					t.Fatal(err)
				}
				if read != int64(len(text)) || r.Bytes != int64(len(plain)) || r.Members != 19 {
					t.Errorf("read %d of %d, result %+v of %d", read, len(text), r, len(plain))
				}
				if !strings.HasPrefix(out.String(), "extracting archive 'test.tar'\n") || !strings.Contains(out.String(), "Total bytes read: ") {
					t.Error(out)
				}
				if left := strings.Contains(out.String(), "1 device nodes left out, which an unprivileged container cannot have: /run/zero"); left == ids.Privileged() {
					t.Error(out)
				}
				got := tree(t, root, ids, false)
				if first == nil {
					first = got
					checkSample(t, root, ids, got)
				} else if diff := cmp.Diff(first, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func checkSample(t *testing.T, root string, ids idmap.Map, got []string) {
	t.Helper()
	text := strings.Join(got, "\n") + "\n"
	for _, want := range []string{
		"usr/owned 104751 1000:65534 \"x\"", " = usr/hard\n", "bin 120777 0:0 -> usr/bin\n", "usr/bin/sh 100644 0:0 \"shell\"\n", "usr/bin 40555 0:0\n",
		"tmp 41777 0:0\n", "run/fifo 10620 0:0\n", "big 100644 0:0 \"3000000 bytes\"\n", "user.note=68656c6c6f", "acl 42755 0:0 system.posix_acl_default=",
	} {
		if !strings.Contains(text, want) && want != " = usr/hard\n" {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, never := range []string{"trusted", "selinux", "null"} {
		if strings.Contains(text, never) {
			t.Errorf("%q in\n%s", never, text)
		}
	}
	if strings.Contains(text, "run/zero 20666 0:0 1,5") != ids.Privileged() {
		t.Errorf("device node: %s", text)
	}
	// Capabilities are those of the container, and so is who may in an ACL.
	capability, acl := "010000020020000000000000000000000000000000000000"[:40], "21000000"
	if !ids.Privileged() {
		capability, acl = "0100000300200000000000000000000000000000a0860100", "c1860100"
	}
	if !strings.Contains(text, "security.capability="+capability) || !strings.Contains(text, acl) {
		t.Errorf("no %s, %s in\n%s", capability, acl, text)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "tmp"), &st); err != nil || st.Mtim.Sec != 1700000000 {
		t.Errorf("time of the folder: %d, %v", st.Mtim.Sec, err)
	}
	if now, err := os.Getwd(); err != nil || !strings.HasSuffix(now, "unpack") {
		t.Errorf("the process went to %s, %v", now, err)
	}
}

// TestLikeTar unpacks what tar packed and compares with what tar unpacks, in a user
// namespace for the unprivileged container.
func TestLikeTar(t *testing.T) {
	needRoot(t)
	from := filepath.Join(t.TempDir(), "from")
	script := `set -e; umask 022; mkdir -p "$1/a/b c" "$1/sparse" "$1/dev"; cd "$1"; echo hello > "a/b c/file"; ln a/b\ c/file a/hard; ln -s /etc/passwd a/link
		chmod 4755 a/hard; chmod 2775 a; chown 12:34 a/b\ c; touch -d '2001-02-03 04:05:06.789' a/b\ c/file; mkfifo pipe
		truncate -s 40M sparse/empty; truncate -s 20M sparse/some; echo data | dd of=sparse/some bs=1 seek=5000000 conv=notrunc status=none
		printf 'x%.0s' $(seq 1 10000) >> sparse/some; : > dev/out; mkfifo 'new
line'; setfattr -n user.x -v y a/hard 2>/dev/null || true`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", from).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, format := range []string{"gnu", "posix"} {
		packed := filepath.Join(t.TempDir(), format+".tar")
		args := []string{"--format=" + format, "--sparse", "--xattrs", "--xattrs-include=user.*", "-cf", packed, "-C", from, "."}
		if out, err := exec.CommandContext(t.Context(), "tar", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for kind, ids := range maps() {
			t.Run(format+"/"+kind, func(t *testing.T) {
				ours, theirs := newRoot(t), newRoot(t)
				uid, gid, _ := ids.Root()
				for at := theirs; at != "/"; at = filepath.Dir(at) { // it comes through as the user it is mapped to
					if st, err := os.Stat(at); err != nil || os.Chmod(at, st.Mode()|0o011) != nil {
						t.Fatal(err)
					}
				}
				if err := os.Chown(theirs, int(uid), int(gid)); err != nil {
					t.Fatal(err)
				}
				in, err := os.Open(packed)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				c := exec.CommandContext(t.Context(), "tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=user.*", "--anchored", "--exclude", "./dev/*", "-C", theirs)
				c.Stdin = in
				if !ids.Privileged() {
					users, groups := ids.Ids()
					c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: users, GidMappings: groups, GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{}}
				}
				if out, err := c.CombinedOutput(); err != nil {
					t.Skipf("tar cannot tell: %v: %s", err, out)
				}
				s, closer, err := unpack.OpenFile(packed, "")
				if err != nil {
					t.Fatal(err)
				}
				defer closer.Close()
				ctx, _ := said(t)
				if _, err := unpack.Template(ctx, s, ours, unpack.Options{IDs: ids}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tree(t, theirs, ids, true), tree(t, ours, ids, true)); diff != "" {
					t.Error(diff)
				}
				for name, most := range map[string]int64{"sparse/empty": 64, "sparse/some": 256} {
					var st unix.Stat_t
					if err := unix.Stat(filepath.Join(ours, name), &st); err != nil || st.Blocks > most {
						t.Errorf("%s takes %d blocks, %v", name, st.Blocks, err)
					}
				}
			})
		}
	}
}

func TestHostile(t *testing.T) {
	needRoot(t)
	for name, at := range testct.Hostile(t) {
		for kind, ids := range maps() {
			t.Run(name+"/"+kind, func(t *testing.T) {
				s, closer, err := unpack.OpenFile(at, "local:vztmpl/"+filepath.Base(at))
				if err != nil {
					t.Fatal(err)
				}
				defer closer.Close()
				ctx, _ := said(t)
				root := newRoot(t)
				_, err = unpack.Template(ctx, s, root, unpack.Options{IDs: ids})
				if err != nil && !strings.HasPrefix(err.Error(), "archive 'local:vztmpl/") {
					t.Errorf("the error does not name the archive: %v", err)
				}
				switch refused := err != nil; name {
				case "empty", "garbage", "truncated", "dots", "dots inside", "hardlink out", "hardlink of dots", "hardlink by symlink":
					if !refused {
						t.Error("it was taken")
					}
				case "device nodes", "absolute path", "write onto symlink", "mode through symlink":
					if refused {
						t.Error(err)
					}
				}
				checkOutside(t, testct.Outside(at))
				if _, err := os.Lstat(filepath.Join(root, "dev/mem")); err == nil {
					t.Error("a device node is there")
				}
			})
		}
	}
}

// checkOutside checks that a folder is as it was.
func checkOutside(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
	var st unix.Stat_t
	secret := filepath.Join(dir, "secret")
	text, err := os.ReadFile(secret)
	if err != nil || string(text) != testct.Secret || unix.Stat(secret, &st) != nil || st.Nlink != 1 || st.Mode != unix.S_IFREG|0o600 || st.Uid != 0 {
		t.Errorf("the secret is %q, %+v, %v", text, st, err)
	}
}

func TestMembers(t *testing.T) {
	needRoot(t)
	owner := file("./x", "x")
	owner.Uid = 70000
	acl := file("./x", "x")
	acl.PAXRecords = map[string]string{"SCHILY.acl.access": "user::rwx\nuser:joe:r-x\ngroup::r-x\nmask::r-x\nother::r-x"}
	capability := file("./x", "x")
	capability.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x09"}
	for name, c := range map[string]struct {
		members []member
		want    []string // beside the root
		err     string
	}{
		"later wins":              {members: []member{file("a", "1"), file("a", "2")}, want: []string{`a 100644 0:0 "2"`}},
		"file for folder":         {members: []member{file("a/b", "1"), file("a", "2")}, want: []string{`a 100644 0:0 "2"`}},
		"folder for file":         {members: []member{file("a", "1"), dir("a", 0o700)}, want: []string{"a 40700 0:0"}},
		"folder twice":            {members: []member{dir("a", 0o700), file("a/b", ""), dir("a", 0o711)}, want: []string{"a 40711 0:0", `a/b 100644 0:0 ""`}},
		"parents":                 {members: []member{file("a/b/c", "1")}, want: []string{"a 40755 0:0", "a/b 40755 0:0", `a/b/c 100644 0:0 "1"`}},
		"through a link inside":   {members: []member{dir("usr", 0o755), symlink("lib", "/usr"), file("lib/x", "1")}, want: []string{"lib 120777 0:0 -> /usr", "usr 40755 0:0", `usr/x 100644 0:0 "1"`}},
		"link to itself":          {members: []member{file("a", "1"), hardlink("a", "./a")}, want: []string{`a 100644 0:0 "1"`}},
		"link to a link":          {members: []member{symlink("a", "/etc/passwd"), hardlink("b", "a")}, want: []string{"a 120777 0:0 -> /etc/passwd", "b 120777 0:0 -> /etc/passwd"}},
		"link twice":              {members: []member{file("a", "1"), hardlink("b", "a"), hardlink("b", "a")}, want: []string{`a 100644 0:0 "1"`, `b 100644 0:0 "1" = a`}},
		"absolute link":           {members: []member{file("a", "1"), hardlink("b", "/a")}, want: []string{`a 100644 0:0 "1"`, `b 100644 0:0 "1" = a`}},
		"dev":                     {members: []member{dir("dev", 0o755), file("dev/x", ""), file("/dev/y/z", ""), hardlink("a", "dev/x")}, want: []string{"dev 40755 0:0"}},
		"link to what is missing": {members: []member{hardlink("b", "a")}, err: "archive 'test.tar': member 'b': link to 'a': no such file or directory"},
		"dots":                    {members: []member{file("a/../b", "")}, err: "archive 'test.tar': member 'a/../b': its name leads out of the root"},
		"file as root":            {members: []member{file("./.", "x")}, err: "archive 'test.tar': member './.': it would replace the root"},
		"owner beyond the map":    {members: []member{owner}, err: "archive 'test.tar': member './x': user 70000 is not in the map of the container"},
		"names in an ACL":         {members: []member{acl}, err: "archive 'test.tar': member './x': its ACL names 'joe': only numbers mean something here"},
		"bad capabilities":        {members: []member{capability}, err: "archive 'test.tar': member './x': its capabilities cannot be read"},
		"unknown type":            {members: []member{{tar.Header{Name: "x", Typeflag: 'M'}, ""}}, err: "archive 'test.tar': member 'x': it is of a type that is not known ('M')"},
		"dangling parent":         {members: []member{symlink("a", "/nowhere"), file("a/b", "")}, err: "archive 'test.tar': member 'a/b': /a is a link to nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			ctx, _ := said(t)
			_, err := unpack.Template(ctx, source(archive(t, c.members...)), root, unpack.Options{IDs: idmap.Default()})
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if c.err != "" {
				return
			}
			if diff := cmp.Diff(c.want, tree(t, root, idmap.Default(), false)[1:]); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("ignored", func(t *testing.T) {
		root := newRoot(t)
		ctx, out := said(t)
		text := archive(t, file("../out", ""), owner, file("good", "1"))
		r, err := unpack.Template(ctx, source(text[:len(text)-1024]), root, unpack.Options{IDs: idmap.Default(), IgnoreErrors: true})
		if err != nil || r.Failed != 3 || !strings.Contains(out.String(), "WARN: member '../out': its name leads out of the root\n") {
			t.Errorf("%+v, %v: %s", r, err, out)
		}
		if _, err := os.Stat(filepath.Join(root, "good")); err != nil {
			t.Error(err)
		}
	})
}

// TestNoFile checks that what is no file is refused at once, a pipe without a writer too.
func TestNoFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero", "/proc"} {
		if _, _, err := unpack.OpenFile(path, ""); err == nil || err.Error() != "'"+path+"' is not a file" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDamaged(t *testing.T) {
	needRoot(t)
	plain := archive(t, file("a", strings.Repeat("some text, ", 50_000)), file("b", "x"))
	packed := gzipped(t, plain)
	flipped := bytes.Clone(packed)
	flipped[len(flipped)-6] ^= 1 // in its checksum
	z := zstandard(t, plain)
	cases := map[string]struct {
		text []byte
		want string
	}{
		"empty":          {nil, "archive 'test.tar': the archive is damaged or incomplete: it is empty"},
		"no archive":     {bytes.Repeat([]byte("x"), 5000), "archive 'test.tar': the archive is damaged or incomplete: archive/tar: invalid tar header"},
		"in a file":      {plain[:300_000], "archive 'test.tar': the archive is damaged or incomplete: it ends early"},
		"between files":  {plain[:len(plain)-1024], "archive 'test.tar': the archive is damaged or incomplete: it ends early"},
		"gzip truncated": {packed[:len(packed)/2], "archive 'test.tar': the archive is damaged or incomplete: it ends early"},
		"gzip checksum":  {flipped, "archive 'test.tar': the archive is damaged or incomplete: gzip: invalid checksum"},
		"zstd truncated": {z[:len(z)-3], "archive 'test.tar': the archive is damaged or incomplete: it ends early"},
	}
	if _, err := exec.LookPath("xz"); err == nil {
		c := exec.CommandContext(t.Context(), "xz", "-c")
		c.Stdin = bytes.NewReader(plain)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		cases["xz truncated"] = struct {
			text []byte
			want string
		}{out[:len(out)-10], "archive 'test.tar': the archive is damaged or incomplete: xz: exit status 1"}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, _ := said(t)
			_, err := unpack.Template(ctx, source(c.text), newRoot(t), unpack.Options{})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestFull unpacks into a root that has not the room.
func TestFull(t *testing.T) {
	needRoot(t)
	root := newRoot(t)
	if err := unix.Mount("none", root, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system of its own: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	ctx, _ := said(t)
	_, err := unpack.Template(ctx, source(archive(t, file("big", strings.Repeat("x", 3<<20)))), root, unpack.Options{IDs: idmap.Default()})
	if err == nil || err.Error() != "archive 'test.tar' does not fit: member 'big': write: no space left on device" {
		t.Error(err)
	}
}

// An endless archive.
type endless struct {
	header *bytes.Reader
	read   func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.header.Len() > 0 {
		return e.header.Read(p)
	}
	e.read()
	clear(p)
	return len(p), nil
}

func TestCancel(t *testing.T) {
	needRoot(t)
	ctx, _ := said(t)
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := errors.New("stopped by the user")
	big := archive(t, file("big", "x"))[:512]
	copy(big[124:136], fmt.Sprintf("%011o\x00", 1<<32)) // its size
	copy(big[148:156], "        ")
	sum := 0
	for _, b := range big {
		sum += int(b)
	}
	copy(big[148:156], fmt.Sprintf("%06o\x00 ", sum))
	n := 0
	in := &endless{bytes.NewReader(big), func() {
		if n++; n == 10 {
			cancel(stopped)
		}
	}}
	_, err := unpack.Template(ctx, &unpack.Source{Name: unpack.Stdin, Reader: in}, newRoot(t), unpack.Options{})
	if !errors.Is(err, stopped) {
		t.Error(err)
	}
}

// TestCancelWaiting cancels while nothing comes from standard input.
func TestCancelWaiting(t *testing.T) {
	needRoot(t)
	text := archive(t, file("a", strings.Repeat("x", 10<<10)))
	for _, sent := range []int{0, 100, 5000} {
		out, in := io.Pipe()
		go func() { _, _ = in.Write(text[:sent]) }()
		ctx, _ := said(t)
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err := unpack.Template(ctx, &unpack.Source{Name: unpack.Stdin, Reader: out}, newRoot(t), unpack.Options{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d: %v", sent, err)
		}
		cancel()
		out.Close()
	}
}

// TestCancelProgram cancels while a program decompresses: it is ended.
func TestCancelProgram(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	if err := run.Pipe(t.Context(), run.Host{}, run.Command("head", "-c", "4000000", "/dev/urandom"), run.Cmd{Path: "xz", Args: []string{"-0", "-c"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	ctx, _ := said(t)
	ctx, cancel := context.WithCancel(ctx)
	r := &watched{Host: run.Host{}}
	var progress func(int64) = func(n int64) {
		if n > 1<<20 {
			cancel()
		}
	}
	_, err := unpack.Template(ctx, source(out.Bytes()), newRoot(t), unpack.Options{Runner: r, Progress: progress})
	if err == nil || !r.ended {
		t.Errorf("error %v, ended %v", err, r.ended)
	}
}

// TestWithoutProgram has no xz: the archive is not at fault.
func TestWithoutProgram(t *testing.T) {
	needRoot(t)
	text := []byte("\xfd7zXZ\x00 and so on")
	o := unpack.Options{Runner: run.NewFake(run.Exchange{Args: []string{"xz", "-d", "-c"}, Missing: true, Repeat: true})}
	ctx, _ := said(t)
	_, err := unpack.Template(ctx, source(text), newRoot(t), o)
	_, other := unpack.Detect(ctx, source(text), o)
	for _, err := range []error{err, other} {
		if err == nil || strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "xz") {
			t.Error(err)
		}
	}
}

type watched struct {
	run.Host
	ended bool
}

func (w *watched) Run(ctx context.Context, c run.Cmd) error {
	defer func() { w.ended = true }()
	return w.Host.Run(ctx, c)
}

func TestLimit(t *testing.T) {
	needRoot(t)
	text := archive(t, file("a", strings.Repeat("x", 100<<10)))
	ctx, _ := said(t)
	start := time.Now()
	if _, err := unpack.Template(ctx, source(text), newRoot(t), unpack.Options{Limit: 500}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 150*time.Millisecond {
		t.Errorf("100 KiB at 500 KiB/s took %v", took)
	}
}

func TestDetect(t *testing.T) {
	busybox := filepath.Join(t.TempDir(), "none")
	if os.Getuid() == 0 {
		busybox = testct.OCI(t)
	}
	for name, c := range map[string]struct {
		text []byte
		want unpack.Kind
	}{
		"template": {gzipped(t, archive(t, file("./etc/passwd", ""))), unpack.Tar},
		"backup":   {zstandard(t, archive(t, file("./etc/vzdump/pct.conf", ""), file("./x", ""))), unpack.Backup},
		"openvz":   {archive(t, file("./etc/vzdump/vps.conf", "")), unpack.Backup},
		"image":    {archive(t, file("oci-layout", ""), file("index.json", ""), file("blobs/sha256/x", "")), unpack.OCI},
		"saved":    {archive(t, file(strings.Repeat("a", 64)+"/layer.tar", ""), file("manifest.json", "")), unpack.OCI},
		"nothing":  {archive(t), unpack.Other},
		"text":     {bytes.Repeat([]byte("x"), 2000), unpack.Other},
		"empty":    {nil, unpack.Other},
		"gzip":     {gzipped(t, []byte("x")), unpack.Other},
		"bad gzip": {[]byte("\x1f\x8b\x00"), unpack.Other},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unpack.Detect(t.Context(), source(c.text), unpack.Options{})
			if err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	if s, closer, err := unpack.OpenFile(busybox, ""); err == nil {
		defer closer.Close()
		if got, err := unpack.Detect(t.Context(), s, unpack.Options{}); got != unpack.OCI || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// BenchmarkTemplate unpacks 20,000 small files and a large one, beside what tar takes.
func BenchmarkTemplate(b *testing.B) {
	needRoot(b)
	from := filepath.Join(b.TempDir(), "from")
	text := bytes.Repeat([]byte("0123456789abcde\n"), 250)
	for i := range 20_000 {
		dir := filepath.Join(from, fmt.Sprintf("usr/share/d%03d", i%500))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	random := make([]byte, 20<<20)
	f, err := os.Open("/dev/urandom")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, random); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "random"), random, 0o644); err != nil {
		b.Fatal(err)
	}
	packed := filepath.Join(b.TempDir(), "t.tar.zst")
	if out, err := exec.CommandContext(b.Context(), "tar", "--zstd", "-cf", packed, "-C", from, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	at := filepath.Join(b.TempDir(), "at")
	each := func(b *testing.B, fn func(root string)) {
		for i := range b.N {
			b.StopTimer()
			root := filepath.Join(at, fmt.Sprint(b.Name()[len(b.Name())-3:], i))
			if err := os.MkdirAll(root, 0o755); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			fn(root)
			b.StopTimer()
			if err := os.RemoveAll(root); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	b.Run("ours", func(b *testing.B) {
		each(b, func(root string) {
			s, closer, err := unpack.OpenFile(packed, "")
			if err != nil {
				b.Fatal(err)
			}
			defer closer.Close()
			ctx, _ := said(b)
			if _, err := unpack.Template(ctx, s, root, unpack.Options{IDs: idmap.Default()}); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("tar", func(b *testing.B) {
		each(b, func(root string) {
			if out, err := exec.CommandContext(b.Context(), "tar", "--zstd", "-xpf", packed, "--numeric-owner", "-C", root).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		})
	})
}
