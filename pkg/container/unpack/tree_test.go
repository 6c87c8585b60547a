package unpack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root unpacks the files of containers")
	}
}

// A member of an archive that a test makes.
type member struct {
	tar.Header
	content string
}

func dir(name string, mode int64) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}, ""}
}

func file(name, content string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func symlink(name, to string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}, ""}
}

func hardlink(name, to string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}, ""}
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		m.Size = int64(len(m.content))
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, text []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(text, nil)
}

func source(text []byte) *unpack.Source {
	return &unpack.Source{Name: "test.tar", Reader: bytes.NewReader(text), Size: int64(len(text))}
}

// newRoot is a folder that a container's root is to be in.
func newRoot(t testing.TB) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	return at
}

// said collects what is printed.
func said(t testing.TB) (context.Context, *bytes.Buffer) {
	out := &bytes.Buffer{}
	return api.WithStreams(t.Context(), api.Streams{Out: out, Err: out}), out
}

// tree describes what is in a folder, a line for each file. Owners are those of the
// container with the map.
func tree(t testing.TB, root string, ids idmap.Map, times bool) []string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, at)
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return err
		}
		uid, _ := ids.ToContainer(idmap.User, st.Uid)
		gid, _ := ids.ToContainer(idmap.Group, st.Gid)
		line := fmt.Sprintf("%s %o %d:%d", name, st.Mode, uid, gid)
		if times {
			line += fmt.Sprintf(" @%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			to, _ := os.Readlink(at)
			line += " -> " + to
		case unix.S_IFREG:
			content, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			if len(content) > 40 {
				content = fmt.Appendf(nil, "%d bytes", len(content))
			}
			line += fmt.Sprintf(" %q", content)
			if st.Nlink > 1 {
				if first, ok := inodes[st.Ino]; ok {
					line += " = " + first
				} else {
					inodes[st.Ino] = name
				}
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		lines = append(lines, line+attributes(at))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func attributes(at string) string {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(at, list)
	if err != nil || n == 0 {
		return ""
	}
	names := strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(at, name, value); err == nil {
			fmt.Fprintf(&out, " %s=%s", name, hex.EncodeToString(value[:n]))
		}
	}
	return out.String()
}
