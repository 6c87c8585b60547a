package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// install makes a root with the example among its programs.
func install(t testing.TB) Finder {
	t.Helper()
	f := Finder{Root: t.TempDir(), Runner: run.Host{}}
	cmd := exec.Command("go", "build", "-o", filepath.Join(f.Folders()[0], "example"), "./contrib/storage-example")
	cmd.Dir = conformance.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return f
}

// script puts a program into the second folder of f.
func script(t testing.TB, f Finder, name, text string) {
	t.Helper()
	path := filepath.Join(f.Folders()[1], name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	types := install(t).Types(t.Context(), "example")
	if len(types) != 1 {
		t.Fatalf("found %d types", len(types))
	}
	storagetest.Run(t, storagetest.Options{
		Type:    types[0],
		Section: func(t *testing.T) []string { return []string{"path " + t.TempDir()} },
		Small:   func(t *testing.T) []string { return []string{"path " + storagetest.Tmpfs(t, 32)} },
		Secrets: map[string]string{"token": "hidden"},
	})
}

// TestNone: where there are no programs, asking for them is next to nothing.
func TestNone(t *testing.T) {
	f := Finder{Root: t.TempDir(), Runner: run.NewFake()}
	if found := f.Types(t.Context()); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	if found := f.Types(t.Context(), "example", "../../bin/sh", "", "UPPER"); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

const describes = `case $1 in describe) echo '{"result":{"api":1,"name":"odd","contents":["images"],"properties":{"where":{"type":"string","required":true},"password":{"type":"string","secret":true},"level":{"type":"integer","minimum":1,"maximum":9,"default":3}},"abilities":["configure"]}}';exit;; esac
`

// TestDescribe: a description is asked for once, and anew when the program is another.
func TestDescribe(t *testing.T) {
	f := Finder{Root: t.TempDir(), Runner: run.Host{}}
	count := filepath.Join(f.Root, "count")
	script(t, f, "odd", "echo x >>"+count+"\n"+describes)
	times := func() int {
		text, _ := os.ReadFile(count)
		return bytes.Count(text, []byte("x"))
	}
	for range 3 {
		if found := f.Types(t.Context()); len(found) != 1 || found[0].Name != "odd" {
			t.Fatalf("found %+v", found)
		}
	}
	if times() != 1 {
		t.Errorf("asked %d times", times())
	}
	script(t, f, "odd", "echo x >>"+count+"\n\n"+describes)
	found := f.Types(t.Context(), "odd")
	if len(found) != 1 || times() != 2 {
		t.Fatalf("found %d types, asked %d times", len(found), times())
	}
	var options []string
	for _, field := range found[0].Config.Fields {
		words := field.Name + ":" + field.Schema.Type
		for _, tag := range []string{"fixed", "secret", "min", "max", "default"} {
			if field.Tag.Get(tag) != "" {
				words += " " + tag
			}
		}
		if !field.Schema.Optional {
			words += " required"
		}
		options = append(options, words)
	}
	want := []string{"content:string", "nodes:string", "disable:boolean", "bwlimit:string", "level:integer min max default", "password:string secret", "where:string required"}
	if diff := cmp.Diff(want, options); diff != "" {
		t.Error(diff)
	}
	hidden := f.Folders()[0] // a program there hides it
	if err := errors.Join(os.MkdirAll(hidden, 0o755), os.WriteFile(hidden+"/odd", []byte("#!/bin/sh\nexit 1\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if found := f.Types(t.Context(), "odd"); len(found) > 0 {
		t.Error("the hidden one was asked")
	}
}

// TestBadPrograms: what is wrong with a program is told, and it is left out.
func TestBadPrograms(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"garbage", "echo hello", `its answer cannot be read (invalid character 'h' looking for beginning of value): "hello"`},
		{"nothing", "", "its answer cannot be read (EOF): it said nothing"},
		{"two answers", `echo '{"result":{}}{"result":{}}'`, "there is more than one answer"},
		{"neither", `echo '{}'`, "its answer has neither a result nor an error"},
		{"fails", "echo it broke >&2; exit 3", "describe: odd: exit status 3: it broke"},
		{"says so", `echo '{"error":{"message":"no licence"}}'; exit 1`, "no licence"},
		{"too new", `echo '{"result":{"api":2,"name":"odd","contents":["images"]}}'`, "it speaks version 2 of the protocol, not 1"},
		{"another name", `echo '{"result":{"api":1,"name":"even","contents":["images"]}}'`, "it calls itself 'even'"},
		{"no contents", `echo '{"result":{"api":1,"name":"odd"}}'`, "it has no contents"},
		{"unknown content", `echo '{"result":{"api":1,"name":"odd","contents":["floppies"]}}'`, "content 'floppies' is unknown"},
		{"unknown format", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"formats":["vdi"]}}'`, "format 'vdi' is unknown"},
		{"unknown word", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"colour":"red"}}'`, `unknown field "colour"`},
		{"unknown ability", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"abilities":["fly"]}}'`, "ability 'fly' is unknown"},
		{"bad property", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"properties":{"a b":{"type":"string"}}}}'`, "property 'a b': the name is none for an option"},
		{"reserved property", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"properties":{"nodes":{"type":"string"}}}}'`, "property 'nodes': the name has a meaning for all types"},
		{"bad type", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"properties":{"a":{"type":"list"}}}}'`, "property 'a': type 'list' is unknown"},
		{"empty property", `echo '{"result":{"api":1,"name":"odd","contents":["images"],"properties":{"a":null}}}'`, "property 'a': it says nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Finder{Root: t.TempDir(), Runner: run.Host{}}
			script(t, f, "odd", "cat >/dev/null\n"+c.text+"\n")
			var said bytes.Buffer
			ctx := api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said})
			if found := f.Types(ctx); len(found) > 0 {
				t.Errorf("found %+v", found)
			}
			if !strings.Contains(said.String(), "storage type 'odd': ") || !strings.Contains(said.String(), c.want) {
				t.Errorf("told %q, want %q", said.String(), c.want)
			}
		})
	}
	t.Run("writable", func(t *testing.T) {
		f := Finder{Root: t.TempDir(), Runner: run.NewFake()}
		script(t, f, "odd", describes)
		if err := os.Chmod(f.Folders()[1]+"/odd", 0o777); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		if found := f.Types(api.WithStreams(t.Context(), api.Streams{Err: &said})); len(found) > 0 || !strings.Contains(said.String(), "can be changed by others") {
			t.Errorf("found %d, told %q", len(found), said.String())
		}
	})
}

// serve is a service with the storage it, of a program.
func serve(t *testing.T, f Finder, text string) *storage.Service {
	t.Helper()
	return storage.New(storage.Options{
		Root: f.Root, Node: "pve1", Runner: run.Host{}, Outside: f.Types, QEMUImg: "qemu-img", Secrets: storage.SecretDir(filepath.Join(f.Root, "etc/pve/priv")),
		Config: func(context.Context) (string, error) { return text, nil },
	})
}

// TestService: a section of a type from outside is read, checked and used as others are.
func TestService(t *testing.T) {
	f := install(t)
	script(t, f, "odd", describes)
	dir := t.TempDir()
	s := serve(t, f, "example: mine\n\tpath "+dir+"\n\nodd: strange\n\twhere here\n\tlevel 12\n\nnowhere: lost\n\tdisable\n")
	v, err := s.Alloc(t.Context(), "mine", storage.Alloc{Guest: 100, Size: 1024})
	if err != nil || v.Name != "vm-100-disk-0" {
		t.Fatalf("made %s, %v", v, err)
	}
	node, err := s.Blockdev(t.Context(), v)
	if diff := cmp.Diff(map[string]any{"driver": "file", "filename": dir + "/vm-100-disk-0/disk"}, node); diff != "" || err != nil {
		t.Error(diff, err)
	}
	c, err := s.Config(t.Context())
	if err != nil || !strings.Contains(strings.Join(c.Warnings, "\n"), "level") {
		t.Errorf("a level of 12: %q, %v", c.Warnings, err)
	}
	if _, err := s.Pool(t.Context(), "lost"); err == nil {
		t.Error("a type that nobody serves")
	}
	var names []string
	for _, kind := range s.Sections().Types {
		names = append(names, kind.Name)
	}
	if !slices.Equal(names, []string{"example", "odd"}) {
		t.Errorf("types %q", names)
	}
}

// TestClash: one option is one kind of value, whatever type it belongs to.
func TestClash(t *testing.T) {
	f := Finder{Root: t.TempDir(), Runner: run.Host{}}
	script(t, f, "odd", describes)
	script(t, f, "even", `echo '{"result":{"api":1,"name":"even","contents":["images"],"properties":{"level":{"type":"integer"}}}}'`)
	script(t, f, "other", `echo '{"result":{"api":1,"name":"other","contents":["images"],"properties":{"level":{"type":"string"}}}}'`)
	var names []string
	for _, kind := range serve(t, f, "").Sections().Types {
		names = append(names, kind.Name)
	}
	if !slices.Equal(names, []string{"even", "odd"}) {
		t.Errorf("types %q", names)
	}
}

// records is a program that writes down what it is told.
func records(dir string) string {
	return `echo "$0 $*" >>` + dir + `/argv; tr '\0' ' ' </proc/$$/environ >>` + dir + "/argv\ncat >>" + dir + "/stdin\n"
}

// TestSecrets: they lie in a file for root alone and come on standard input, and nowhere
// else.
func TestSecrets(t *testing.T) {
	f := Finder{Root: t.TempDir(), Runner: run.Host{}}
	dir := t.TempDir()
	script(t, f, "odd", records(dir)+describes+"echo '{\"result\":null}'\n")
	s := serve(t, f, "odd: it\n\twhere here\n")
	p, err := s.Pool(t.Context(), "it")
	if err != nil {
		t.Fatal(err)
	}
	c, ok := p.(storage.Configurer)
	if !ok {
		t.Fatalf("%T keeps no secrets", p)
	}
	if err := c.Added(t.Context(), map[string]string{"password": "hidden"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Activate(t.Context()); err != nil {
		t.Fatal(err)
	}
	argv, _ := os.ReadFile(dir + "/argv")
	stdin, _ := os.ReadFile(dir + "/stdin")
	if bytes.Contains(argv, []byte("hidden")) {
		t.Errorf("arguments or environment: %s", argv)
	}
	if !bytes.Contains(stdin, []byte(`"call":"activate"`)) || bytes.Count(stdin, []byte(`"secrets":{"password":"hidden"}`)) != 2 {
		t.Errorf("standard input: %s", stdin)
	}
	file := f.Root + "/etc/pve/priv/storage/it.json"
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := c.Changed(t.Context(), map[string]*string{"password": nil}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the last is deleted: %v", err)
	}
	if err := errors.Join(c.Added(t.Context(), map[string]string{"password": "again"}), c.Removed(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the storage is gone: %v", err)
	}
}

// TestFaults: a program that fails, hangs or dies is told of by name, and nothing of it
// stays.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"words", `echo '{"error":{"code":"inUse","message":"somebody has it"}}'`, "storage 'it': somebody has it"},
		{"words and code", `echo '{"error":{"message":"broken"}}'; exit 2`, "storage 'it': broken"},
		{"dies", "kill -9 $$", "storage 'it': status: odd: signal: killed"},
		{"exit code", "echo why >&2; exit 7", "storage 'it': status: odd: exit status 7: why"},
		{"half an answer", `printf '{"result":{"total":1'`, "its answer cannot be read (unexpected EOF)"},
		{"another type", `echo '{"result":{"total":"much"}}'`, "its result cannot be read"},
		{"hangs", "trap '' TERM; sleep 600 & echo $! >>$DIR/pids; echo $$ >>$DIR/pids; wait; sleep 600", "storage 'it': status: odd: no answer in 1s"},
		{"never ends", "while :; do echo more; done", "storage 'it': status: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Finder{Root: t.TempDir(), Runner: run.Host{}}
			dir := t.TempDir()
			script(t, f, "odd", "DIR="+dir+"\ncat >/dev/null\n"+strings.Replace(describes, `"abilities"`, `"timeouts":{"status":1},"abilities"`, 1)+
				"[ $1 = status ] || { echo '{\"result\":null}'; exit; }\n"+c.text+"\n")
			s := serve(t, f, "odd: it\n\twhere here\n")
			var said bytes.Buffer
			_, err := s.Status(api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said}), "it")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.name == "words" && !errors.Is(err, storage.ErrInUse) {
				t.Errorf("the code is lost: %v", err)
			}
			if c.name == "exit code" && said.String() != "why\n" {
				t.Errorf("the user was shown %q", said.String())
			}
			pids, _ := os.ReadFile(dir + "/pids")
			for _, pid := range strings.Fields(string(pids)) {
				await(t, "process "+pid+" is gone", func() bool {
					stat, err := os.ReadFile("/proc/" + pid + "/stat")
					return err != nil || bytes.Contains(stat, []byte(") Z "))
				})
			}
			if c.name == "hangs" && len(pids) == 0 {
				t.Error("nothing was started")
			}
		})
	}
}

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for begun := time.Now(); !there(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestAbilities: a pool has those of its program, and no others.
func TestAbilities(t *testing.T) {
	all := []Ability{Resize, Snapshot, Clone, Rename}
	for set := range 1 << len(all) {
		d := &Description{Name: "odd"}
		for i, a := range all {
			if set>>i&1 == 1 {
				d.Abilities = append(d.Abilities, a)
			}
		}
		p := able(&pool{described: d})
		_, r := p.(storage.Resizer)
		_, s := p.(storage.Snapshotter)
		_, c := p.(storage.Cloner)
		_, b := p.(storage.BaseCreator)
		_, n := p.(storage.Renamer)
		got := []bool{r, s, c, b, n}
		has := func(a Ability) bool { return slices.Contains(d.Abilities, a) }
		if want := []bool{has(Resize), has(Snapshot), has(Clone), has(Clone), has(Rename)}; !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", d.Abilities, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	one := &Description{Name: "odd", Contents: []storage.Content{storage.Images, storage.ISO}, Formats: []string{"raw", "subvol"}}
	two := &Description{Name: "odd", Contents: []storage.Content{storage.Images}, Formats: []string{"qcow2", "raw"}, Existing: true}
	for _, c := range []struct {
		d    *Description
		name string
		want storage.Name
	}{
		{one, "vm-100-disk-0", storage.Name{Content: "images", File: "vm-100-disk-0", Guest: 100, Format: "raw"}},
		{one, "subvol-100-disk-0", storage.Name{Content: "images", File: "subvol-100-disk-0", Guest: 100, Format: "subvol"}},
		{one, "base-100-disk-0/vm-101-disk-0", storage.Name{Content: "images", File: "vm-101-disk-0", Guest: 101, Format: "raw", Base: "base-100-disk-0", BaseGuest: 100}},
		{one, "iso/a b.iso", storage.Name{Content: "iso", File: "a b.iso", Format: "raw"}},
		{one, "vm-100-disk-0/vm-101-disk-0", storage.Name{}},
		{one, "iso/../x", storage.Name{}},
		{one, "iso/..", storage.Name{}},
		{one, "backup/x.vma", storage.Name{}},
		{one, "images/x", storage.Name{}},
		{one, "vm-1-disk-0", storage.Name{}},
		{one, "vm-0100-disk-0", storage.Name{}},
		{one, "lun1", storage.Name{}},
		{two, "vm-100-disk-0.qcow2", storage.Name{Content: "images", File: "vm-100-disk-0.qcow2", Guest: 100, Format: "qcow2"}},
		{two, "subvol-100-disk-0", storage.Name{Content: "images", File: "subvol-100-disk-0", Format: "qcow2"}},
		{two, "lun1", storage.Name{Content: "images", File: "lun1", Format: "qcow2"}},
		{two, "a/b", storage.Name{}},
	} {
		got, err := c.d.parse(c.name)
		if err != nil {
			got = storage.Name{}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) == (c.want == storage.Name{}) {
			t.Errorf("%q: %v\n%s", c.name, err, diff)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, name := range []string{"vm-100-disk-0", "base-100-disk-0/vm-101-disk-0.qcow2", "iso/x.iso", "lun1"} {
		f.Add(name)
	}
	d := &Description{Name: "odd", Contents: append(storage.AllContents(), storage.None), Formats: []string{"raw", "qcow2", "subvol"}, Existing: true}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := d.parse(name)
		if err != nil {
			return
		}
		if n.File == "" || strings.Contains(n.File, "/") || strings.Contains(name, "..") && !strings.Contains(n.File+n.Base, "..") || n.File == ".." || n.Base == ".." {
			t.Errorf("%q is %+v", name, n)
		}
		if n.Content == storage.Images && volume(n) != name {
			t.Errorf("%q became %q", name, volume(n))
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"result":{"api":1,"name":"odd","contents":["images"],"properties":{"a":{"type":"string","doc":"\"` + "`" + `"}}}}`))
	f.Add([]byte(`{"error":{"code":"exists","message":"x"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseReply(text)
		if err != nil {
			return
		}
		if r.Error != nil && r.Error.err() == nil {
			t.Error("an error that is none")
		}
		var d Description
		if json.Unmarshal(r.Result, &d) == nil && d.check("odd") == nil {
			for _, field := range d.config().Fields {
				if field.Schema == nil {
					t.Errorf("%s has no schema", field.Name)
				}
			}
		}
	})
}

func BenchmarkNone(b *testing.B) {
	f := Finder{Root: b.TempDir(), Runner: run.Host{}}
	for b.Loop() {
		f.Types(b.Context())
	}
}

func BenchmarkList(b *testing.B) {
	f := install(b)
	t := f.Types(b.Context(), "example")
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			for i := range n {
				folder := fmt.Sprintf("%s/vm-%d-disk-0", dir, 100+i)
				if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(folder+"/disk", nil, 0o644)); err != nil {
					b.Fatal(err)
				}
			}
			s := storage.New(storage.Options{Runner: run.Host{}, Types: t, Config: func(context.Context) (string, error) { return "example: it\n\tpath " + dir + "\n", nil }})
			for b.Loop() {
				list, err := s.List(b.Context(), "it", storage.Filter{Content: []storage.Content{storage.Images}})
				if err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}
