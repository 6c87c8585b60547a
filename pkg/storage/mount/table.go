package mount

import (
	"os"
	"path/filepath"
	"strings"
)

// An Entry is a line of the kernel's table of mounts.
type Entry struct {
	Device  string
	Point   string
	Type    string
	Options string
}

// Table reads the kernel's table of mounts. It does not touch what is mounted.
func Table() ([]Entry, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	return Parse(string(text)), err
}

// Parse reads a table in the form of /proc/mounts. Lines that are none of it are left
// out.
func Parse(text string) []Entry {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`)
	var table []Entry
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 4 {
			table = append(table, Entry{
				Device: unescape.Replace(f[0]), Point: unescape.Replace(f[1]), Type: f[2], Options: unescape.Replace(f[3]),
			})
		}
	}
	return table
}

// Find returns what is mounted on a path: the last of several, which hides the others.
func Find(table []Entry, path string) (Entry, bool) {
	for i := len(table) - 1; i >= 0; i-- {
		if table[i].Point == path {
			return table[i], true
		}
	}
	return Entry{}, false
}

// At returns what is mounted on a path. It does not touch what is mounted; but to
// follow links in a path is to look at folders on the way, any of which may hang, so it is
// done in what bounded does with a function.
func At(path string, bounded func(func() error) error) (Entry, bool, error) {
	table, err := Table()
	if err != nil {
		return Entry{}, false, err
	}
	if e, ok := Find(table, path); ok {
		return e, true, nil
	}
	real := make(chan string, 1)
	if err := bounded(func() error { real <- resolve(path); return nil }); err != nil {
		return Entry{}, false, err
	}
	e, ok := Find(table, <-real)
	return e, ok, nil
}

// resolve follows the links in a path. Of a path that is not there yet it follows
// those of the folder.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// Host is how the address of a server stands before a colon or a slash.
func Host(server string) string {
	if strings.Contains(server, ":") {
		return "[" + server + "]"
	}
	return server
}
