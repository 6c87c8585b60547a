package guest

import (
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Tags returns a list of tags as it is kept: each once, in small letters and sorted where
// the style of the data center, which may be nil, does not say otherwise.
func Tags(text string, style *cluster.TagStyle) string {
	sensitive := style != nil && style.CaseSensitive != nil && *style.CaseSensitive
	sorted := style == nil || style.Ordering == nil || *style.Ordering != "config"
	var kept []string
	for _, tag := range schema.SplitList(text) {
		if !sensitive {
			tag = strings.ToLower(tag)
		}
		if !slices.Contains(kept, tag) {
			kept = append(kept, tag)
		}
	}
	if sorted {
		slices.Sort(kept)
	}
	return strings.Join(kept, ";")
}
