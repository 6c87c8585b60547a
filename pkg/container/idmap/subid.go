package idmap

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Missing are the lines that the files of root's subordinate ids lack for a map.
type Missing struct {
	Lines []SubID
}

// A SubID is a line of a file of subordinate ids.
type SubID struct {
	File string // /etc/subuid, /etc/subgid
	Line string // root:100000:65536
}

// Error says what to add to which file.
func (e *Missing) Error() string {
	var parts []string
	for _, l := range e.Lines {
		parts = append(parts, fmt.Sprintf("'%s' to %s", l.Line, l.File))
	}
	return "newuidmap does not let root use the ids of the map: add " + strings.Join(parts, " and ")
}

// CheckSubIDs tells whether root may use the ids that a map has at the host, as the lines
// of /etc/subuid and /etc/subgid below dir say ("/" for those of the host). They count only
// where newuidmap is installed: LXC asks it then, else it writes the map itself. A map that
// may not be used is a [*Missing].
func CheckSubIDs(dir string, m Map, newuidmap bool) error {
	if !newuidmap || m.Privileged() {
		return nil
	}
	missing := &Missing{}
	for _, file := range []struct {
		kind Kind
		path string
	}{{User, "/etc/subuid"}, {Group, "/etc/subgid"}} {
		allowed, err := readSubIDs(filepath.Join(dir, file.path), "root", "0")
		if err != nil {
			return err
		}
		for _, e := range m {
			// The user himself may always be mapped.
			if e.Kind == file.kind && (e.Host != 0 || e.Count != 1) && !covered(allowed, e) {
				missing.Lines = append(missing.Lines, SubID{file.path, fmt.Sprintf("root:%d:%d", e.Host, e.Count)})
			}
		}
	}
	if len(missing.Lines) > 0 {
		return missing
	}
	return nil
}

// A span is a range of ids of the host.
type span struct{ start, count uint64 }

// covered tells whether lines allow all ids of an entry. Each may give a part of them.
func covered(allowed []span, e Entry) bool {
	next, end := uint64(e.Host), uint64(e.Host)+uint64(e.Count)
	for next < end {
		reached := next
		for _, s := range allowed {
			if next >= s.start && s.start+s.count > reached {
				reached = s.start + s.count
			}
		}
		if reached == next {
			return false
		}
		next = reached
	}
	return true
}

// readSubIDs reads the ranges of the given owners; lines that cannot be read are passed
// over, as newuidmap does. No file is a file without lines.
func readSubIDs(path string, owners ...string) ([]span, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var allowed []span
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		for _, owner := range owners {
			if s, ok := parseSubID(lines.Text(), owner); ok {
				allowed = append(allowed, s)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return allowed, nil
}

func parseSubID(line, owner string) (span, bool) {
	fields := strings.Split(line, ":")
	if len(fields) != 3 || fields[0] != owner {
		return span{}, false
	}
	start, err1 := strconv.ParseUint(fields[1], 10, 32)
	count, err2 := strconv.ParseUint(fields[2], 10, 32)
	return span{start, count}, err1 == nil && err2 == nil && count > 0
}
