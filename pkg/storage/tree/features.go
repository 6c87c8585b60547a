package tree

import (
	"slices"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Has tells whether a volume can do what the feature says.
func (t *Tree) Has(f storage.Feature, name, snap string) bool {
	n, err := Parse(name)
	if err != nil {
		return false
	}
	images := []string{"raw", "qcow2", "vmdk"}
	qcow2 := []string{"qcow2"}
	able := map[storage.Feature]struct{ base, current, snap []string }{
		storage.FeatureSnapshot: {current: qcow2, snap: qcow2},
		storage.FeatureClone:    {base: images},
		storage.FeatureTemplate: {current: append([]string{"subvol"}, images...)},
		storage.FeatureCopy:     {base: images, current: images, snap: qcow2},
		storage.FeatureSparse:   {base: images, current: images},
		storage.FeatureRename:   {current: images},
	}[f]
	formats := able.current
	switch {
	case snap != "":
		formats = able.snap
	case n.IsBase:
		formats = able.base
	}
	return slices.Contains(formats, n.Format)
}
