package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Faults are all that is wrong with a set of parameters, keyed by the path of
// the parameter: "net0", or "net0.tag" inside a property string.
type Faults map[string]string

// Error lists the faults, one a line, sorted by path.
func (f Faults) Error() string { return strings.TrimSuffix(f.Lines(), "\n") }

// Lines lists the faults as upstream prints them: "path: fault", each ended by a
// newline. A fault that itself ends in one, as those of formats do, is followed by
// a blank line.
func (f Faults) Lines() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(&b, "%s: %s\n", path, f[path])
	}
	return b.String()
}

// Err returns f as an error, nil where there is no fault.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// add notes a fault at path. A second one at the same path is kept beside the
// first.
func (f Faults) add(path, format string, args ...any) {
	if path == "" {
		path = "_root"
	}
	text := fmt.Sprintf(format, args...)
	if first, ok := f[path]; ok {
		text = first + "\n" + text
	}
	f[path] = text
}
