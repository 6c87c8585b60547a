package volumes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// plant makes a tree with one of each that a copy could lose.
func plant(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(at("etc/deep/er"), 0o755))
	must(os.MkdirAll(at("tmp"), 0o755))
	must(unix.Chmod(at("tmp"), 0o1777))
	must(os.WriteFile(at("etc/hostname"), []byte("ct\n"), 0o644))
	must(os.WriteFile(at("etc/shadow"), []byte("root:*:1::\n"), 0o640))
	must(os.Chown(at("etc/shadow"), 100000, 100042))
	must(os.WriteFile(at("etc/empty"), nil, 0o600))
	must(os.WriteFile(at("etc/näme with\nline"), []byte("x"), 0o400))
	must(os.WriteFile(at("bin-su"), bytes.Repeat([]byte("setuid"), 50000), 0o755))
	must(os.Chown(at("bin-su"), 100000, 100000))
	must(unix.Chmod(at("bin-su"), 0o6755))
	must(os.Link(at("bin-su"), at("etc/deep/er/su-too")))
	must(os.Symlink("../../outside", at("etc/link")))
	must(os.Lchown(at("etc/link"), 100001, 100001))
	must(os.Symlink("nowhere", at("dangling")))
	must(unix.Mkfifo(at("pipe"), 0o620))
	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(at("socket"), unix.S_IFSOCK|0o755, 0))
	f, err := os.Create(at("holes"))
	must(err)
	_, err = f.WriteAt([]byte("begin"), 0)
	must(err)
	_, err = f.WriteAt([]byte("middle"), 9<<20)
	must(err)
	must(f.Truncate(32 << 20))
	must(f.Close())
	must(unix.Setxattr(at("etc/hostname"), "trusted.kept", []byte("yes"), 0))
	// cap_net_raw=ep
	must(unix.Setxattr(at("etc/empty"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	// user::rw- user:5:r-- group::r-- mask::r-- other::r--
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x05\x00\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff")
	err = unix.Setxattr(at("etc/hostname"), "system.posix_acl_access", acl, 0)
	if !errors.Is(err, unix.ENOTSUP) {
		must(err)
		must(unix.Setxattr(at("etc/deep"), "system.posix_acl_default", acl, 0))
	}
	must(os.Chown(dir, 100000, 100000))
	must(os.Chmod(dir, 0o751))
	for _, name := range []string{"etc/deep/er", "etc/hostname", "etc/link", "pipe", "etc", "."} {
		when := []unix.Timespec{{Sec: 1e9, Nsec: 5000}, {Sec: 1.1e9, Nsec: 123456000}}
		must(unix.UtimesNanoAt(unix.AT_FDCWD, at(name), when, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// describe tells of each thing below dir all that a copy has to keep.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, names := map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name == "lost+found" {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%o %d:%d rdev %d time %d.%d", st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
		switch {
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x", len(text), sha256.Sum256(text))
		case d.Type()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s", to)
		}
		if !d.IsDir() && st.Nlink > 1 {
			if names[st.Ino] == "" {
				names[st.Ino] = name
			}
			fmt.Fprintf(&b, " same as %s", names[st.Ino])
		}
		list, _ := grow(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
		keys := strings.Split(strings.TrimRight(string(list), "\x00"), "\x00")
		slices.Sort(keys)
		for _, key := range keys {
			if plainName(key) {
				value, _ := grow(func(b []byte) (int, error) { return unix.Lgetxattr(path, key, b) })
				fmt.Fprintf(&b, " %s=%x", key, value)
			}
		}
		all[name] = b.String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTrees(t *testing.T, a, b string) {
	t.Helper()
	if diff := cmp.Diff(describe(t, a), describe(t, b)); diff != "" {
		t.Errorf("trees differ (-source +copy):\n%s", diff)
	}
	if len(maps.Collect(maps.All(describe(t, b)))) < 2 {
		t.Error("nothing is there")
	}
}
