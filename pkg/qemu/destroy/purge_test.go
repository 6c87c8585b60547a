package destroy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPurgeCron(t *testing.T) {
	const head = cronHead
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", head},
		{"several guests", head + "0 2 * * * root vzdump 100 101 --quiet 1\n", head + "0 2 * * * root vzdump 101 --quiet 1\n"},
		{"the last guest", head + "0 2 * * * root vzdump 100 --quiet 1\n", head},
		{"other guests", head + "0 2 * * * root vzdump 101 --storage local\n", head + "0 2 * * * root vzdump 101 --storage local\n"},
		{"all guests", head + "0 2 * * * root vzdump --all 1 --exclude 7\n", head + "0 2 * * * root vzdump --all 1 --exclude 7\n"},
		{"a value like the guest", head + "0 2 * * * root vzdump 101 --bwlimit 100\n", head + "0 2 * * * root vzdump 101 --bwlimit 100\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, purgeCron(c.text, "100")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzSections(f *testing.F) {
	f.Add("vm: 100\n\tstate started\n\n")
	f.Add("\tlost\nx: y\n# c\n\tcomment a b\n\tb\n")
	f.Fuzz(func(t *testing.T, text string) {
		once := printSections(parseSections(text))
		if again := printSections(parseSections(once)); again != once && !strings.ContainsAny(text, "\r\v\f\u0085\u00a0") {
			t.Errorf("%q reads as %q, then as %q", text, once, again)
		}
	})
}
