package all_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/setup/all"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
)

type suite struct {
	Environment struct {
		Nameserver   string   `json:"default_nameserver"`
		SearchDomain string   `json:"default_searchdomain"`
		Hash         string   `json:"password_hash"`
		Keys         string   `json:"ssh_keys"`
		Runs         int      `json:"runs"`
		UUID         string   `json:"uuid"`
		Days         string   `json:"shadow_days_placeholder"`
		Stripped     []string `json:"comments_stripped_from"`
		Random       struct {
			First []float64 `json:"first_values"`
			Seed  uint64    `json:"seed"`
		} `json:"random"`
	} `json:"environment"`
	Cases []struct {
		Name      string            `json:"name"`
		Config    string            `json:"config"`
		Rootfs    []node            `json:"rootfs"`
		Expected  map[string]string `json:"expected"`
		Unchecked map[string]string `json:"expected_unchecked_by_peer"`
	} `json:"cases"`
}

// node is a file, folder or link of a root.
type node struct {
	Path, Type, Mode, Content, Target string
	Base64                            *string
}

// drand48 is the random number generator of the C library.
func drand48(seed uint64) func() float64 {
	x := seed<<16 | 0x330e
	return func() float64 {
		x = (x*0x5deece66d + 0xb) & (1<<48 - 1)
		return float64(x) / (1 << 48)
	}
}

// build makes a root, and returns it with the folder that it is in.
func build(t *testing.T, nodes []node) (*rootfs.Root, string) {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "outer", "root")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		path := filepath.Join(dir, n.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch n.Type {
		case "dir":
			err = os.MkdirAll(path, 0o755)
		case "symlink":
			err = os.Symlink(n.Target, path)
		default:
			mode, data := uint64(0o644), []byte(n.Content)
			if n.Mode != "" {
				mode, err = strconv.ParseUint(n.Mode, 8, 32)
			}
			if n.Base64 != nil {
				data, err = base64.StdEncoding.DecodeString(*n.Base64)
			}
			if err == nil {
				err = os.WriteFile(path, data, os.FileMode(mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := rootfs.Open(dir, rootfs.Owner{UID: os.Getuid(), GID: os.Getgid()})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// configOf reads a configuration.
func configOf(t *testing.T, text string) *container.Config {
	t.Helper()
	doc, err := container.ReadDoc(100, []byte(text), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return container.Typed(doc.Values)
}

// envOf is a world that is the same each time.
func envOf(t *testing.T) setup.Env {
	return setup.Env{
		Distributions: all.Distributions(),
		Resolver:      "search proxmox.com\nnameserver 8.8.8.8\nnameserver 8.8.8.9\n",
		Timezone:      "Europe/Berlin",
		Now:           func() time.Time { return time.Unix(1_700_000_000, 0) },
		Random:        drand48(0),
		UUID:          func() string { return "00000000-0000-0000-0000-000000000000" },
		Runner:        run.Host{},
		TempDir:       t.TempDir(),
		Printf:        func(format string, args ...any) { t.Logf(format, args...) },
		Warnf:         func(format string, args ...any) { t.Logf("WARN: "+format, args...) },
	}
}

func TestConformanceLXCSetup(t *testing.T) {
	var s suite
	conformance.Load(t, "guest/lxc-setup", &s)
	random := drand48(s.Environment.Random.Seed)
	for _, want := range s.Environment.Random.First {
		if got := random(); got != want {
			t.Fatalf("random number %v, want %v", got, want)
		}
	}
	for _, tt := range s.Cases {
		t.Run(tt.Name, func(t *testing.T) {
			root, dir := build(t, tt.Rootfs)
			before := outer(t, dir)
			for range s.Environment.Runs {
				env := envOf(t)
				env.Random = drand48(s.Environment.Random.Seed)
				env.UUID = func() string { return s.Environment.UUID }
				env.Resolver = "search " + s.Environment.SearchDomain + "\n"
				for _, server := range strings.Fields(s.Environment.Nameserver) {
					env.Resolver += "nameserver " + server + "\n"
				}
				ct, err := setup.Open(root, configOf(t, tt.Config), env)
				if err != nil {
					t.Fatal(err)
				}
				err = ct.PostCreate(t.Context(), setup.Account{Hash: s.Environment.Hash, SSHKeys: s.Environment.Keys})
				if err != nil {
					t.Fatal(err)
				}
				day := strconv.FormatInt(env.Now().Unix()/86400, 10)
				for path, want := range tt.Expected {
					compare(t, dir, path, strings.ReplaceAll(want, s.Environment.Days, day), slices.Contains(s.Environment.Stripped, path))
				}
				for path, want := range tt.Unchecked {
					compare(t, dir, path, want, false)
				}
			}
			if diff := cmp.Diff(before, outer(t, dir)); diff != "" {
				t.Errorf("changed outside of the root: %s", diff)
			}
		})
	}
}

// outer lists what lies beside and above the root.
func outer(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"/../*", "/../../*"} {
		found, err := filepath.Glob(filepath.Clean(dir + pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

func compare(t *testing.T, dir, path, want string, strip bool) {
	t.Helper()
	info, err := os.Lstat(filepath.Join(dir, path))
	if err != nil || !info.Mode().IsRegular() {
		t.Errorf("%s: %v, not a file", path, err)
		return
	}
	data, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Error(err)
	}
	got := string(data)
	if strip {
		got, want = bare(got), bare(want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:\n%s", path, diff)
	}
}

// bare is a text without comments and blank lines; a line of blanks alone counts.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
