// Package transcript plays recorded sessions of commands again: it lays out the
// files of a case, runs the command, and compares what it printed and what it
// changed with what was recorded.
//
// The recordings are the conformance suites cli/*; their README says what the
// tokens in them stand for.
package transcript

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

// A Suite is one file of recordings.
type Suite struct {
	Environment struct {
		Node     string
		Qemu     string
		MTime    int64
		Resolv   string `json:"resolv_conf"`
		Skeleton struct {
			Dirs  []string
			Links map[string]string
		}
	}
	States map[string]map[string]Content
	Cases  []Case
}

// A Case is one recorded command.
type Case struct {
	Name       string
	State      string
	Argv       []string
	Stdin      string
	Compare    string
	Stdout     string
	Stderr     string
	Exit       int
	FilesAfter map[string]*Content `json:"files_after"`
}

// A Runner plays the cases of one suite.
type Runner struct {
	Program string              // the tool, a path
	Env     []string            // its environment, besides root and node
	Rewrite func(string) string // makes what we print look as recorded, by rule; may be nil
	// Deviations are the cases where we differ knowingly, with the reason.
	Deviations map[string]string
}

// Run plays every case of the suite as a subtest. A deviation that no longer
// deviates is a failure too: the list may only get shorter.
func (r Runner) Run(t *testing.T, name string) {
	var s Suite
	conformance.Load(t, name, &s)
	known := maps.Clone(r.Deviations)
	for _, c := range s.Cases {
		reason, deviates := known[c.Name]
		delete(known, c.Name)
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			diff := r.play(t, &s, c)
			switch {
			case deviates && diff == "":
				t.Errorf("is listed as a deviation (%s) but does not deviate", reason)
			case deviates:
				t.Skipf("deviates knowingly: %s", reason)
			case diff != "":
				t.Errorf("%s\n%s", strings.Join(c.Argv, " "), diff)
			}
		})
	}
	if len(known) > 0 {
		t.Errorf("deviations of cases that do not exist: %v", slices.Sorted(maps.Keys(known)))
	}
}

// play runs one case and returns in what it differs.
func (r Runner) play(t *testing.T, s *Suite, c Case) string {
	t.Helper()
	root, err := os.MkdirTemp("", "vs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	layOut(t, s, c, root)
	before := scan(t, root)
	put := func(text string) string { return strings.ReplaceAll(text, "${ROOT}", root) }
	args := make([]string, len(c.Argv))
	for i, arg := range c.Argv {
		args[i] = put(arg)
	}
	cmd := exec.CommandContext(t.Context(), r.Program, args[1:]...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/root", "LANG=C.UTF-8", "TZ=UTC", "USER=root",
		"VIRTSMITH_ROOT=" + root, "VIRTSMITH_NODE=" + s.Environment.Node,
	}, r.Env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(put(c.Stdin)), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	m := matcher{root: root, rewrite: r.Rewrite, compare: c.Compare}
	diff := m.diff("stdout", c.Stdout, stdout.String()) + m.diff("stderr", c.Stderr, stderr.String())
	if got := cmd.ProcessState.ExitCode(); (got == 0) != (c.Exit == 0) || c.Exit == 255 && got != 255 {
		diff += cmp.Diff(map[string]int{"exit": c.Exit}, map[string]int{"exit": got})
	}
	return diff + m.files(t, c, before, scan(t, root))
}

// Content is what a file holds: text, an image, zeros, a folder, a link.
type Content struct {
	Text  *string
	Image *Image
	Zeros *int64
	Size  *int64
	Dir   bool
	Link  string
}

// An Image is a disk image as qemu-img knows it.
type Image struct {
	Format        string
	Size          int64
	Backing       string
	BackingFormat string `json:"backing_format"`
	Snapshots     []string
}

// UnmarshalJSON reads the text of a file, or an object that describes it.
func (c *Content) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &c.Text)
	}
	type plain Content
	return json.Unmarshal(raw, (*plain)(c))
}

// layOut writes the files that a case starts from.
func layOut(t *testing.T, s *Suite, c Case, root string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for _, dir := range s.Environment.Skeleton.Dirs {
		must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for name, target := range s.Environment.Skeleton.Links {
		must(os.Symlink(target, filepath.Join(root, name)))
	}
	must(os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte(s.Environment.Resolv), 0o644))
	must(os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644))
	state := s.States[c.State]
	for _, name := range slices.Sorted(maps.Keys(state)) {
		content := state[name]
		must(os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(content.create(root, name))
	}
	must(setTimes(root, s.Environment.MTime))
}
