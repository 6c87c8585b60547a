package transcript

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tokens are what stands in recordings for values that a run makes up.
var tokens = map[string]string{
	"${UUID}":     `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`,
	"${MAC}":      `[0-9A-F]{2}(?::[0-9A-F]{2}){5}`,
	"${TIME}":     `\d{9,11}`,
	"${DATE}":     `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`,
	"${UPID}":     `UPID:[^:]*:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}`,
	"${CRYPT}":    `\$5\$[^\s]+`,
	"${QEMU_IMG}": `[^\n]*`,
	"${DD}":       `[^\n]*`,
	"${N}":        `[0-9.]+`,
	"${P}":        `[0-9.]+%?`,
	"${PID}":      `[0-9A-F]{8}`,
	"${PSTART}":   `[0-9A-F]{8,9}`,
	"${START}":    `[0-9A-F]{8}`,
	"${SALT}":     `[./0-9A-Za-z]{8}`,
	"${HASH}":     `[./0-9A-Za-z]{43}`,
	"${ID}":       `[0-9A-Za-z-]+`,
	"${ANY}":      `(?s:.*)`,
	"${TEXT}":     `[^\n]*`,
}

var token = regexp.MustCompile(`\$\{[A-Z_]+\}`)

type matcher struct {
	root    string
	rewrite func(string) string
	compare string
}

// diff tells in what got differs from want, empty where it does not.
func (m matcher) diff(what, want, got string) string {
	got = strings.ReplaceAll(got, m.root, "${ROOT}")
	want, got = progress(want), progress(got)
	if m.rewrite != nil {
		got = m.rewrite(got)
	}
	switch m.compare {
	case "words":
		want, got = words(want), words(got)
	case "unordered":
		want, got = sortLines(want), sortLines(got)
	}
	if matches(want, got) {
		return ""
	}
	return fmt.Sprintf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
}

// matches tells whether got is want, whose tokens stand for anything of their
// kind.
func matches(want, got string) bool {
	if !token.MatchString(want) {
		return want == got
	}
	var pattern strings.Builder
	rest := want
	for {
		at := token.FindStringIndex(rest)
		if at == nil {
			break
		}
		pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		word := rest[at[0]:at[1]]
		if p, ok := tokens[word]; ok {
			pattern.WriteString(p)
		} else {
			pattern.WriteString(regexp.QuoteMeta(word))
		}
		rest = rest[at[1]:]
	}
	pattern.WriteString(regexp.QuoteMeta(rest))
	return regexp.MustCompile("^(?:" + pattern.String() + ")$").MatchString(got)
}

var between = regexp.MustCompile(`(?m)^transferred .* \((?:\d{1,2}\.\d\d)%\)\n`)

// progress leaves the first and the last of each run of progress lines.
func progress(text string) string {
	return between.ReplaceAllStringFunc(text, func(line string) string {
		if strings.Contains(line, "(0.00%)") {
			return line
		}
		return ""
	})
}

func words(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func sortLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// files tells in what the changed files differ from those recorded.
func (m matcher) files(t *testing.T, c Case, before, after map[string]entry) string {
	t.Helper()
	var diff strings.Builder
	names := slices.Sorted(maps.Keys(after))
	for name := range before {
		if _, stays := after[name]; !stays {
			names = append(names, name)
		}
	}
	for name := range c.FilesAfter {
		_, was := before[name]
		_, is := after[name]
		if !was && !is {
			names = append(names, name)
		}
	}
	for _, name := range names {
		diff.WriteString(m.file(t, c, name, before, after))
	}
	return diff.String()
}

// file compares one file with what it was, or with what is recorded of it.
func (m matcher) file(t *testing.T, c Case, name string, before, after map[string]entry) string {
	t.Helper()
	was, wasThere := before[name]
	is, isThere := after[name]
	want, recorded := c.FilesAfter[name]
	same := wasThere == isThere && was.sum == is.sum && was.kind == is.kind && was.size == is.size
	switch {
	case !recorded && same, recorded && want == nil && !isThere:
		return ""
	case !recorded && isThere && !is.kind.IsRegular():
		return fmt.Sprintf("%s: was made\n", name)
	case !recorded && isThere:
		text, _ := os.ReadFile(is.path)
		return fmt.Sprintf("%s: was changed to %.400q\n", name, text)
	case !recorded:
		return fmt.Sprintf("%s: was removed\n", name)
	case want == nil:
		return fmt.Sprintf("%s: is still there\n", name)
	case !isThere:
		return fmt.Sprintf("%s: is not there\n", name)
	}
	return m.content(t, name, *want, is)
}

// content compares a file with what is recorded of it.
func (m matcher) content(t *testing.T, name string, want Content, is entry) string {
	t.Helper()
	switch {
	case want.Text != nil:
		got, err := os.ReadFile(is.path)
		if err != nil {
			return err.Error() + "\n"
		}
		files := m
		files.compare = ""
		return files.diff(name, *want.Text, string(got))
	case want.Image != nil:
		got, err := imageInfo(is.path, want.Image.Format)
		if err != nil {
			return err.Error() + "\n"
		}
		got.Backing = strings.ReplaceAll(got.Backing, m.root, "${ROOT}")
		if diff := cmp.Diff(*want.Image, got); diff != "" {
			return name + ": " + diff
		}
	case want.Zeros != nil && is.size != *want.Zeros, want.Size != nil && is.size != *want.Size:
		return fmt.Sprintf("%s: has %d bytes\n", name, is.size)
	case want.Dir && !is.kind.IsDir():
		return fmt.Sprintf("%s: is no folder\n", name)
	case want.Link != "" && want.Link != strings.ReplaceAll(is.sum, m.root, "${ROOT}"):
		return fmt.Sprintf("%s: links to %s\n", name, is.sum)
	}
	return ""
}
