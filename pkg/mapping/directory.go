package mapping

import (
	"fmt"
	"os"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Directory is a name for a directory.
type Directory struct {
	ID          string
	Description *string          `pve:"description" doc:"What the directory holds." maxlen:"4096"`
	Maps        []DirectoryEntry // what the name stands for
}

// DirectoryEntry is what a name stands for on one node.
type DirectoryEntry struct {
	Node id.Node `pve:"node" doc:"Node that the entry is for."`
	Path string  `pve:"path" doc:"Absolute path of the directory." format:"pve-storage-path-in-property-string"`
}

// Directories are the names of mapping/directory.cfg, in its order.
type Directories []Directory

// ReadDirectories reads mapping/directory.cfg. What is wrong in it is told to warn and
// left out.
func ReadDirectories(text string, warn func(string)) Directories {
	r := &reader{file: "mapping/directory.cfg", keys: schema.Of[Directory]().Properties, warn: warn}
	var all Directories
	for _, s := range r.read(text) {
		one := Directory{ID: s.id, Maps: entries[DirectoryEntry](r, s)}
		_ = schema.Decode(s.values, &one) // each value was checked when read
		all = append(all, one)
	}
	return all
}

// Find returns the mapping of the given name.
func (d Directories) Find(name string) (Directory, bool) {
	i := slices.IndexFunc(d, func(m Directory) bool { return m.ID == name })
	if i < 0 {
		return Directory{}, false
	}
	return d[i], true
}

// On returns what the name stands for on a node.
func (m Directory) On(node id.Node) []DirectoryEntry {
	return on(m.Maps, node, func(e DirectoryEntry) id.Node { return e.Node })
}

// Path returns the directory that a name stands for on a node, which must be there.
// Upstream's messages, capital and all, are kept.
func (d Directories) Path(node id.Node, name string) (string, error) {
	m, ok := d.Find(name)
	here := m.On(node)
	switch {
	case !ok:
		return "", fmt.Errorf("Directory ID %s does not exist", name)
	case len(here) == 0:
		//lint:ignore ST1005 upstream's words
		return "", fmt.Errorf("No directory mapping for node %s", node)
	case len(here) > 1:
		//lint:ignore ST1005 upstream's words
		return "", fmt.Errorf("More than one directory mapping for node %s", node)
	}
	return here[0].Path, here[0].Validate()
}

// Validate looks whether the directory is there.
func (e DirectoryEntry) Validate() error {
	info, err := os.Stat(e.Path)
	switch {
	case err != nil && os.IsNotExist(err):
		return fmt.Errorf("Path %s does not exist", e.Path)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("Path %s exists, but is not a directory", e.Path)
	}
	return nil
}
