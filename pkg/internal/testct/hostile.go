package testct

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Secret is what the file "secret" in the folder that Outside names holds.
const Secret = "not for containers\n"

// Outside is the folder that the archives of Hostile try to reach: whatever is done with
// them, it holds one file, "secret", with Secret in it and one link to it.
func Outside(archive string) string { return filepath.Join(filepath.Dir(archive), "outside") }

// Hostile makes archives that try to get out of the folder they are unpacked to, or are no
// archives at all, by what they do. Each but the damaged ones begins with a member that is as it
// should be, and ends with another.
func Hostile(t testing.TB) map[string]string {
	t.Helper()
	home := t.TempDir()
	out := filepath.Join(home, "outside")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "secret"), []byte(Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 40) + strings.TrimPrefix(out, "/")
	made := map[string]string{}
	for name, tree := range map[string][]entry{
		"absolute path":          {file(out+"/absolute", "x")},
		"dots":                   {file(up+"/dots", "x")},
		"dots inside":            {dir("./a"), file("./a/../../"+up+"/inside", "x")},
		"device nodes":           {dir("./dev"), node("./dev/sda", tar.TypeBlock, 8, 0), node("./dev/mem", tar.TypeChar, 1, 1)},
		"write through symlink":  {symlink("./way", out), file("./way/through", "x")},
		"write onto symlink":     {symlink("./way", out+"/secret"), file("./way", "x")},
		"symlink of dots":        {symlink("./way", up), file("./way/through", "x")},
		"folder through symlink": {symlink("./way", out), dir("./way/folder"), file("./way/folder/file", "x")},
		"folder becomes symlink": {dir("./way"), symlink("./way", out), file("./way/became", "x")},
		"symlink of symlinks":    {symlink("./a", "b"), symlink("./b", out), file("./a/chain", "x")},
		"hardlink out":           {hardlink("./way", out+"/secret"), file("./way", "x")},
		"hardlink of dots":       {hardlink("./way", up+"/secret")},
		"hardlink by symlink":    {symlink("./a", out), hardlink("./way", "a/secret"), file("./way", "x")},
		"mode through symlink":   {symlink("./way", out+"/secret"), hardlink("./again", "./way"), entry{name: "./again", mode: 0o777, text: "x"}},
	} {
		tree = append(append([]entry{dir("."), dir("./etc"), file("./etc/alpine-release", "3.99.0\n")}, tree...), file("./etc/last", "last\n"))
		at := filepath.Join(home, strings.ReplaceAll(name, " ", "-")+".tar.gz")
		pack(t, at, "gz", tree)
		made[name] = at
	}
	for name, text := range map[string][]byte{
		"empty": {}, "garbage": bytes.Repeat([]byte("no archive "), 1000), "truncated": truncated(t),
	} {
		at := filepath.Join(home, name+".tar.gz")
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
		made[name] = at
	}
	return made
}

// truncated is half of a good archive, as a broken download leaves it.
func truncated(t testing.TB) []byte {
	t.Helper()
	plain, packed := &bytes.Buffer{}, &bytes.Buffer{}
	if err := writeTar(plain, busyboxTree(t)); err != nil {
		t.Fatal(err)
	}
	if err := compress(packed, plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()[:packed.Len()/2]
}
