// Package outside makes storage types of programs: an executable that speaks JSON over
// its standard streams can be a type that virtsmith does not know. PROTOCOL.md beside
// this file says how they speak; contrib/storage-example is one.
//
// A program is found by its name, which is that of the type, in one of the folders that
// [Finder] looks into. It is started for one call each and ends with it. What it is told
// comes on its standard input, secrets among it; what it says on standard error is shown
// to the user.
package outside

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Finder finds the programs of a host.
type Finder struct {
	Root   string // put before the paths we own; empty means /
	Runner run.Runner
}

// Folders are where programs lie. A program in an earlier one hides that of the same
// name in a later one.
func (f Finder) Folders() []string {
	return []string{
		filepath.Join("/", f.Root, "usr/local/libexec/virtsmith/storage"),
		filepath.Join("/", f.Root, "usr/libexec/virtsmith/storage"),
	}
}

// Types returns the types with the given names that there are, or all where none is
// given. It costs next to nothing where there are none. A program that is wrong is told
// to the user and left out.
func (f Finder) Types(ctx context.Context, names ...string) []storage.Type {
	if len(names) == 0 {
		names = f.names()
	}
	var found []storage.Type
	for _, name := range names {
		p, err := f.find(name)
		if err == nil && p != nil {
			var d *Description
			if d, err = p.describe(ctx, filepath.Join("/", f.Root, "var/cache/virtsmith/storage")); err == nil {
				found = append(found, p.typeOf(d))
			}
		}
		if err != nil {
			api.Warnf(ctx, "storage type '%s': %v", name, err)
		}
	}
	return found
}

// typeName is what types are called, and their programs.
var typeName = pattern.New(`^[a-z][a-z0-9-]{1,31}$`)

// names lists the programs there are.
func (f Finder) names() []string {
	var names []string
	for _, folder := range f.Folders() {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // it needs not be there
		}
		for _, e := range entries {
			if typeName.MatchString(e.Name()) && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names
}

// A program is an executable that serves a type.
type program struct {
	name, path string
	stat       fs.FileInfo
	runner     run.Runner
}

// find returns the program of a type, nil where there is none.
func (f Finder) find(name string) (*program, error) {
	if !typeName.MatchString(name) {
		return nil, nil //nolint:nilnil // what no program can be called is not there
	}
	for _, folder := range f.Folders() {
		path := filepath.Join(folder, name)
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := cmp.Or(err, trusted(path, st)); err != nil {
			return nil, err
		}
		return &program{name: name, path: path, stat: st, runner: f.Runner}, nil
	}
	return nil, nil //nolint:nilnil // there is none
}

// trusted fails where others than root, and whoever we are, could change the program.
func trusted(path string, st fs.FileInfo) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is no executable file", path)
	case st.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be changed by others than its owner: chmod go-w it", path)
	case ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, not to root", path, sys.Uid)
	}
	return nil
}
