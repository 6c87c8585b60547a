package pvesm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/transcript"
)

// The test binary is pvesm too, when it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pvesm" || len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "--task-worker") || len(os.Args) > 1 && os.Args[1] == "--supervise-qemu" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

func program(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "pvesm")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	return link
}

var lists = regexp.MustCompile(`(?m)^\t(content|nodes) .*$`)

func TestConformancePVESM(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	transcript.Runner{
		Program: program(t),
		// Lists are kept in the order that the user gave; the recordings have them sorted.
		Rewrite: func(text string) string {
			return lists.ReplaceAllStringFunc(text, func(line string) string {
				name, words, _ := strings.Cut(line, " ")
				sorted := strings.Split(words, ",")
				slices.Sort(sorted)
				return name + " " + strings.Join(sorted, ",")
			})
		},
		Deviations: deviations(),
	}.Run(t, "cli/cli-pvesm")
}

// deviations are the cases where we differ knowingly, with the reason.
func deviations() map[string]string {
	return map[string]string{}
}
