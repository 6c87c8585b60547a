package unpack_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

type object = map[string]any

// An imageBuilder makes the archive of an image.
type imageBuilder struct {
	t     testing.TB
	blobs []member
}

// blob adds a blob and returns its descriptor.
func (b *imageBuilder) blob(text []byte) object {
	digest := fmt.Sprintf("%x", sha256.Sum256(text))
	b.blobs = append(b.blobs, file("blobs/sha256/"+digest, string(text)))
	return object{"mediaType": "application/octet-stream", "digest": "sha256:" + digest, "size": len(text)}
}

func (b *imageBuilder) json(v any) object {
	text, err := json.Marshal(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.blob(text)
}

// image adds an image of layers and returns the descriptor of its manifest.
func (b *imageBuilder) image(arch string, config object, layers ...[]byte) object {
	list := []object{}
	for _, l := range layers {
		list = append(list, b.blob(l))
	}
	return b.json(object{"config": b.json(object{"os": "linux", "architecture": arch, "config": config}), "layers": list})
}

// archive returns the archive with an index of what is given; blobs come first, so nothing
// can rely on the order.
func (b *imageBuilder) archive(manifests ...object) []byte {
	text, err := json.Marshal(object{"schemaVersion": 2, "manifests": manifests})
	if err != nil {
		b.t.Fatal(err)
	}
	return archive(b.t, slices.Concat(b.blobs, []member{file("index.json", string(text)), file("oci-layout", "{}")})...)
}

func on(d object, arch, variant string) object {
	d["platform"] = object{"os": "linux", "architecture": arch, "variant": variant}
	return d
}

func TestOCIImage(t *testing.T) {
	needRoot(t)
	b := &imageBuilder{t: t}
	lower := archive(t, dir("etc", 0o755), file("etc/gone", "1"), file("etc/kept", "1"), file("etc/replaced", "1"),
		dir("opaque", 0o755), file("opaque/old", ""), dir("opaque/sub", 0o755), file("opaque/sub/old", ""), file("tree/a/b", ""), dir("usr/lib", 0o755), symlink("lib", "usr/lib"),
		dir("became", 0o755), file("became/x", ""), symlink("link", "/etc"))
	upper := archive(t, file("etc/.wh.gone", ""), file("etc/replaced", "2"), file("opaque/sub/new", "new"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "new"),
		file(".wh.tree", ""), file("lib/through", "2"), file("became", "file"), file(".wh..wh.plnk/x", ""), file("etc/.wh.never", ""), file("tree2/.wh.x", ""),
		file("link/inside", "2"))
	top := archive(t, file("new", "3"), file(".wh.new", ""), dir("dev", 0o755), file("dev/.wh.x", ""))
	text := b.archive(b.image("amd64", object{"Volumes": object{"/data/x": object{}, "../bad": object{}}}, gzipped(t, lower), zstandard(t, upper), top))
	want := []string{
		`became 100644 0:0 "file"`, "data 40755 0:0", "data/x 40755 0:0", "dev 40755 0:0", "etc 40755 0:0", `etc/inside 100644 0:0 "2"`, `etc/kept 100644 0:0 "1"`,
		`etc/replaced 100644 0:0 "2"`, "lib 120777 0:0 -> usr/lib", "link 120777 0:0 -> /etc", `new 100644 0:0 "3"`, "opaque 40755 0:0",
		`opaque/new 100644 0:0 "new"`, "opaque/sub 40755 0:0", `opaque/sub/new 100644 0:0 "new"`, "usr 40755 0:0", "usr/lib 40755 0:0", `usr/lib/through 100644 0:0 "2"`,
	}
	for kind, ids := range maps() {
		t.Run(kind, func(t *testing.T) {
			ctx, out := said(t)
			root := newRoot(t)
			i, r, err := unpack.OCIImage(ctx, source(text), root, unpack.Options{IDs: ids, Arch: "amd64"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, tree(t, root, ids, false)[1:]); diff != "" {
				t.Error(diff)
			}
			if i.Arch != "amd64" || r.Members == 0 || !strings.Contains(out.String(), "WARN: volume '../bad' of the image: its name leads out of the root\n") {
				t.Errorf("%+v, %+v: %s", i, r, out)
			}
		})
	}
}

func TestArchitectures(t *testing.T) {
	needRoot(t)
	b := &imageBuilder{t: t}
	build := func(arch, name string) object { return b.image(arch, nil, archive(t, file(name, ""))) }
	nested := b.json(object{"manifests": []object{on(build("arm64", "arm64"), "arm64", "v8"), on(build("riscv64", "riscv64"), "riscv64", "")}})
	text := b.archive(object{"digest": "sha256:" + strings.Repeat("0", 64), "platform": object{"os": "unknown", "architecture": "unknown"}},
		object{"digest": "sha256:" + strings.Repeat("1", 64), "platform": object{"os": "windows", "architecture": "amd64"}},
		on(build("arm", "v6"), "arm", "v6"), on(build("arm", "v7"), "arm", "v7"), on(build("amd64", "amd64"), "amd64", ""), on(build("386", "386"), "386", ""), nested)
	for arch, want := range map[string]string{"amd64": "amd64", "i386": "386", "arm64": "arm64", "armhf": "v7", "riscv64": "riscv64", "": "v6"} {
		t.Run("for "+arch, func(t *testing.T) {
			ctx, _ := said(t)
			root := newRoot(t)
			if _, _, err := unpack.OCIImage(ctx, source(text), root, unpack.Options{Arch: arch}); err != nil {
				t.Fatal(err)
			}
			if got := tree(t, root, nil, false); len(got) != 2 || !strings.HasPrefix(got[1], want+" ") {
				t.Errorf("%q", got)
			}
		})
	}
	ctx, _ := said(t)
	_, _, err := unpack.OCIImage(ctx, source(text), newRoot(t), unpack.Options{Arch: "riscv32"})
	want := "archive 'test.tar': it has no image for linux/riscv32, only for windows/amd64, linux/arm/v6, linux/arm/v7, linux/amd64, linux/386, linux/arm64/v8, linux/riscv64"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}

func TestHostileImages(t *testing.T) {
	needRoot(t)
	good := archive(t, file("good", "x"))
	build := func(fn func(b *imageBuilder) []object) []byte {
		b := &imageBuilder{t: t}
		return b.archive(fn(b)...)
	}
	one := func(layers ...[]byte) []byte {
		return build(func(b *imageBuilder) []object { return []object{b.image("amd64", nil, layers...)} })
	}
	named := func(digest string) []byte {
		return build(func(b *imageBuilder) []object { return []object{{"digest": digest}} })
	}
	swapped := bytes.Replace(one(good), []byte("good\x00"), []byte("evil\x00"), 1)
	const start = "archive 'test.tar': "
	const damaged = start + "the archive is damaged or incomplete: "
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"other content":       {swapped, start + "layer 1 of 1: the archive is damaged or incomplete: "},
		"digest with dots":    {named("sha256:../../../../etc/passwd"), damaged + "digest 'sha256:../../../../etc/passwd' cannot be read"},
		"digest of no kind":   {named("md5:00"), damaged + "digest 'md5:00' is of no kind that is known"},
		"no digest":           {named(""), damaged + "digest '' is of no kind that is known"},
		"upper case":          {named("sha256:" + strings.Repeat("A", 64)), damaged + "digest"},
		"missing blob":        {named("sha256:" + strings.Repeat("a", 64)), damaged + "it has no file blobs/sha256/aaaa"},
		"no images":           {build(func(*imageBuilder) []object { return nil }), damaged + "it has no image"},
		"no index":            {archive(t, file("x", "")), damaged + "it has no file manifest.json"},
		"index is no JSON":    {archive(t, file("index.json", "[")), damaged + "index.json: unexpected end"},
		"large document":      {archive(t, file("index.json", strings.Repeat(" ", 5<<20))), damaged + "index.json is 5242880 bytes long"},
		"truncated":           {one(good)[:2000], damaged + "it ends early"},
		"compressed":          {gzipped(t, one(good)), start + "an image is read as it is, decompress the archive first (gzip)"},
		"layer is none":       {one(bytes.Repeat([]byte("x"), 1000)), start + "layer 1 of 1: the archive is damaged"},
		"layer truncated":     {one(gzipped(t, good)[:40]), start + "layer 1 of 1: "},
		"dots":                {one(archive(t, file("../x", ""))), start + "layer 1 of 1: member '../x': its name leads out of the root"},
		"whiteout of dot":     {one(archive(t, file(".wh..", ""))), start + "layer 1 of 1: member '.wh..': it takes away what has no name"},
		"whiteout of dots":    {one(archive(t, file("a/.wh...", ""))), start + "layer 1 of 1: member 'a/.wh...': it takes away what has no name"},
		"whiteout of nothing": {one(archive(t, file("a/.wh.", ""))), start + "layer 1 of 1: member 'a/.wh.': it takes away what has no name"},
		"loop of indexes": {build(func(b *imageBuilder) []object {
			d := b.json(object{"manifests": []object{{"digest": "sha256:" + strings.Repeat("0", 64)}}})
			for range 10 {
				d = b.json(object{"manifests": []object{d}})
			}
			return []object{d}
		}), damaged + "its indexes lie too deep"},
		"encrypted": {build(func(b *imageBuilder) []object {
			l := b.blob(good)
			l["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
			return []object{b.json(object{"config": b.json(object{"os": "linux"}), "layers": []object{l}})}
		}), start + "layer sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, _ := said(t)
			root := newRoot(t)
			_, _, err := unpack.OCIImage(ctx, source(c.text), root, unpack.Options{IDs: idmap.Default()})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("link of another layer", func(t *testing.T) {
		out := testct.Hostile(t)["dots"]
		outside := testct.Outside(out)
		up := strings.Repeat("../", 40)
		for n, target := range []string{outside, up + strings.TrimPrefix(outside, "/")} {
			text := one(archive(t, symlink("way", target), symlink("way2", target+"/secret")), archive(t, file("way2", "x"), file(".wh.way/x", ""), file("way/.wh.secret", ""), file("way/.wh..wh..opq", "")),
				archive(t, hardlink("stolen", "way/secret")))
			ctx, _ := said(t)
			_, _, err := unpack.OCIImage(ctx, source(text), newRoot(t), unpack.Options{})
			if err == nil || !strings.Contains(err.Error(), "layer 3 of 3: member 'stolen'") {
				t.Errorf("%d: %v", n, err)
			}
			checkOutside(t, outside)
		}
	})
}

// TestSaved unpacks an archive as docker saved them before it wrote an index.
func TestSaved(t *testing.T) {
	needRoot(t)
	l := archive(t, file("saved", "x"))
	build := func(sum string) []byte {
		config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","config":{"Cmd":["/bin/sh"]},"rootfs":{"diff_ids":["sha256:%s"]}}`, sum)
		return archive(t, file("c.json", config), file("l/layer.tar", string(l)), file("manifest.json", `[{"Config":"c.json","Layers":["l/layer.tar"]}]`))
	}
	ctx, _ := said(t)
	root := newRoot(t)
	i, _, err := unpack.OCIImage(ctx, source(build(fmt.Sprintf("%x", sha256.Sum256(l)))), root, unpack.Options{Arch: "amd64"})
	if err != nil || !slices.Equal(i.Command, []string{"/bin/sh"}) || len(tree(t, root, nil, false)) != 2 {
		t.Errorf("%+v, %v", i, err)
	}
	if _, _, err := unpack.OCIImage(ctx, source(build(strings.Repeat("0", 64))), newRoot(t), unpack.Options{}); err == nil || !strings.Contains(err.Error(), "does not have the digest") {
		t.Error(err)
	}
	if _, _, err := unpack.OCIImage(ctx, source(build("x")), newRoot(t), unpack.Options{Arch: "arm64"}); err == nil || !strings.Contains(err.Error(), "no image for linux/arm64, only for linux/amd64") {
		t.Error(err)
	}
}

// TestBusyboxImage unpacks the image that containers of tests are made of.
func TestBusyboxImage(t *testing.T) {
	needRoot(t)
	s, closer, err := unpack.OpenFile(testct.OCI(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	ctx, _ := said(t)
	root := newRoot(t)
	i, _, err := unpack.OCIImage(ctx, s, root, unpack.Options{IDs: idmap.Default()})
	if err != nil {
		t.Fatal(err)
	}
	want := &unpack.Image{
		Arch: "amd64", Command: []string{"/bin/sh", "/entry.sh", "serve"}, WorkingDir: "/srv", StopSignal: "SIGTERM",
		Env: []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "GREETING=hello image"},
	}
	if diff := cmp.Diff(want, i, cmp.Comparer(func(a, b []string) bool { return slices.Equal(a, b) })); diff != "" {
		t.Error(diff)
	}
	for name, there := range map[string]bool{"etc/gone": false, "folder/old": false, "folder/new": true, "entry.sh": true} {
		if found := slices.ContainsFunc(tree(t, root, nil, false), func(l string) bool { return strings.HasPrefix(l, name+" ") }); found != there {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestSettings(t *testing.T) {
	files := func(name string) ([]byte, error) {
		text, ok := map[string]string{
			"etc/passwd": "root:x:0:0::/:/bin/sh\nweb:x:101:102::/:\nbad:x:a:b::/:\n",
			"etc/group":  "root:x:0:\nweb:x:102:web\nssl:x:103:joe,web\nbad:x:b:web\n",
		}[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
	line := func(key, value string) container.RawLine { return container.RawLine{Key: key, Value: value} }
	for name, c := range map[string]struct {
		image unpack.Image
		want  unpack.Settings
	}{
		"nothing": {unpack.Image{}, unpack.Settings{Options: map[string]string{}}},
		"init":    {unpack.Image{Command: []string{"/sbin/init"}, StopSignal: "SIGRTMIN+3"}, unpack.Settings{Options: map[string]string{}}},
		"server": {
			unpack.Image{Arch: "amd64", Command: []string{"/entry.sh", "nginx", "-g", "daemon off;"}, Env: []string{"PATH=/bin", "A=b c"}, WorkingDir: "/srv/", StopSignal: "SIGQUIT"},
			unpack.Settings{
				Options:     map[string]string{"arch": "amd64", "entrypoint": `/entry.sh "nginx" "-g" "daemon off;"`, "cmode": "console", "env": "PATH=/bin\x00A=b c"},
				Lines:       []container.RawLine{line("lxc.signal.halt", "SIGQUIT"), line("lxc.init.cwd", "/srv")},
				HostManaged: true,
			},
		},
		"user":       {unpack.Image{User: "web"}, unpack.Settings{Options: map[string]string{}, Lines: []container.RawLine{line("lxc.init.uid", "101"), line("lxc.init.gid", "102"), line("lxc.init.groups", "103")}}},
		"number":     {unpack.Image{User: "101"}, unpack.Settings{Options: map[string]string{}, Lines: []container.RawLine{line("lxc.init.uid", "101"), line("lxc.init.gid", "102"), line("lxc.init.groups", "103")}}},
		"nobody's":   {unpack.Image{User: "7"}, unpack.Settings{Options: map[string]string{}, Lines: []container.RawLine{line("lxc.init.uid", "7"), line("lxc.init.gid", "0")}}},
		"with group": {unpack.Image{User: "web:ssl"}, unpack.Settings{Options: map[string]string{}, Lines: []container.RawLine{line("lxc.init.uid", "101"), line("lxc.init.gid", "103")}}},
		"no user":    {unpack.Image{User: "joe"}, unpack.Settings{Options: map[string]string{}, Warnings: []string{"user 'joe' of the image is left out: etc/passwd of the image does not have it"}}},
		"hostile": {
			unpack.Image{Command: []string{"sh", "-c", "a\nlxc.x: y"}, Env: []string{"A=\nb", "=x", "A B=c", "LD=\x00x"}, WorkingDir: "/a\nb", User: "a\nb"},
			unpack.Settings{Options: map[string]string{}, Warnings: []string{
				`the command of the image is left out: "a\nlxc.x: y" has characters that cannot be kept`,
				`variable "A" of the image is left out: it cannot be kept`, `variable "" of the image is left out: it cannot be kept`,
				`variable "A B" of the image is left out: it cannot be kept`, `variable "LD" of the image is left out: it cannot be kept`,
				`the working folder "/a\nb" of the image is left out`, "user 'a\nb' of the image is left out: its name cannot be kept",
			}},
		},
		"quotes": {
			unpack.Image{Command: []string{"sh", "-c", `say "x"`, ""}, StopSignal: "TERM"},
			unpack.Settings{Options: map[string]string{"entrypoint": `sh "-c" 'say "x"' ""`, "cmode": "console"}, Lines: []container.RawLine{line("lxc.signal.halt", "SIGTERM")}, HostManaged: true},
		},
		"both quotes": {unpack.Image{Command: []string{"sh", `'"`}}, unpack.Settings{Options: map[string]string{}, Warnings: []string{`the command of the image is left out: '" has quotes of both kinds`}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.image.Settings(files)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzOCI reads what claims to be the index, the manifest and the configuration of an image.
func FuzzOCI(f *testing.F) {
	b := &imageBuilder{t: f}
	b.json(object{"manifests": []object{on(b.image("amd64", object{"Env": []string{"A=b"}, "User": "0:0"}, archive(f, file("x", ""))), "amd64", "v2")}})
	var seeds []string
	for _, m := range b.blobs {
		seeds = append(seeds, m.content)
	}
	f.Add(seeds[len(seeds)-1], seeds[0], seeds[1])
	f.Add(`{"manifests":[{"digest":"sha256:00","platform":null}]}`, `{"layers":[null]}`, `{"config":null,"rootfs":{"diff_ids":[""]}}`)
	f.Fuzz(func(t *testing.T, index, manifest, config string) {
		b := &imageBuilder{t: t}
		for _, text := range []string{manifest, config} {
			b.blob([]byte(text))
		}
		text := archive(t, append(b.blobs, file("index.json", index))...)
		i, err := unpack.ReadImage(t.Context(), source(text), "amd64")
		if err != nil {
			return
		}
		s := i.Settings(func(string) ([]byte, error) { return nil, errors.New("none") })
		for key, value := range s.Options {
			if strings.ContainsAny(value, "\n\r") {
				t.Errorf("%s: %q", key, value)
			}
		}
		for _, l := range s.Lines {
			if strings.ContainsAny(l.Value, "\n\r\x00") {
				t.Errorf("%+v", l)
			}
		}
	})
}

// FuzzHeaders unpacks whatever a tar archive may say into a root.
func FuzzHeaders(f *testing.F) {
	f.Add("a/b", "c", byte(tar.TypeReg), "x", "SCHILY.acl.access", "user::rwx")
	f.Add("../b", "/etc/passwd", byte(tar.TypeLink), "", "GNU.sparse.map", "0,1")
	f.Add("a/.wh..wh..opq", "..", byte(tar.TypeSymlink), "", "SCHILY.xattr.security.capability", "\x01\x00\x00\x02")
	needRoot(f)
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, name, link string, kind byte, content, key, value string) {
		m := member{tar.Header{Name: name, Linkname: link, Typeflag: kind, Mode: 0o755, PAXRecords: map[string]string{key: value}, Format: tar.FormatPAX}, content}
		m.Size = int64(len(content))
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		if w.WriteHeader(&m.Header) != nil {
			return
		}
		_, _ = w.Write([]byte(content))
		if w.Close() != nil {
			return
		}
		ctx, _ := said(t)
		root := newRoot(t)
		_, _ = unpack.Template(ctx, source(out.Bytes()), root, unpack.Options{IDs: idmap.Default()})
		if entries, err := filepath.Glob(filepath.Join(home, "*")); err != nil || len(entries) > 0 {
			t.Errorf("outside: %v, %v", entries, err)
		}
	})
}
