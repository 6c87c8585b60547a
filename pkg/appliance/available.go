package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
)

// maxList is how large a list may be.
const maxList = 32 << 20

// listPath is where the list of a source is kept.
func (s *Service) listPath(one Source) string { return filepath.Join(s.path(listDir), one.Host) }

// Available lists the templates of all lists that are kept, by section and name. What is in
// several lists is taken from the first one. What is wrong with a list is told, and hides
// none of the others.
func (s *Service) Available(ctx context.Context) ([]Template, error) {
	sources, err := s.Sources()
	if err != nil {
		return nil, err
	}
	var all []Template
	seen, read := map[string]bool{}, 0
	for _, one := range sources {
		text, err := file.Read(s.listPath(one), maxList)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		read++
		var list []Template
		if err == nil {
			list, err = ParseList(string(text), one.Base())
		}
		if err != nil {
			api.Warnf(ctx, "list of %s: %v", one.Host, err)
		}
		for _, t := range list {
			if !seen[t.Template] {
				seen[t.Template] = true
				all = append(all, t)
			}
		}
	}
	if read == 0 && len(sources) > 0 {
		fmt.Fprintln(api.StreamsOf(ctx).Err, "there is no list of templates yet, run 'pveam update'")
	}
	slices.SortFunc(all, func(a, b Template) int {
		return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Template, b.Template))
	})
	return all, nil
}

// Find finds a template by its name.
func (s *Service) Find(ctx context.Context, name string) (Template, error) {
	all, err := s.Available(ctx)
	if err != nil {
		return Template{}, err
	}
	for _, t := range all {
		if t.Template == name {
			return t, nil
		}
	}
	return Template{}, ErrUnknown
}
