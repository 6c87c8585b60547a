package access

import (
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// poolStorages is the field of a pool that lists its storages.
const poolStorages = 4

// RemoveStorage takes a storage out of all pools, and the rights on it away. It tells
// whether there were any.
func (r *Rights) RemoveStorage(storeid id.Storage) (changed bool) {
	for _, l := range r.blocks[pools] {
		if len(l) <= poolStorages {
			continue
		}
		before := strings.FieldsFunc(l[poolStorages], func(c rune) bool { return c == ',' })
		after := slices.DeleteFunc(slices.Clone(before), func(name string) bool { return name == string(storeid) })
		if len(after) != len(before) {
			l[poolStorages], changed = strings.Join(after, ","), true
		}
	}
	path := "/storage/" + string(storeid)
	before := len(r.blocks[rights])
	r.blocks[rights] = slices.DeleteFunc(r.blocks[rights], func(l line) bool { return l.field(rightsPath) == path })
	return changed || len(r.blocks[rights]) != before
}
