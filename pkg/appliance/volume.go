package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// List lists the templates that are on a storage, by name.
func (s *Service) List(ctx context.Context, storeid id.Storage) ([]storage.Volume, error) {
	d, err := s.Storage.Enabled(ctx, storeid)
	if err != nil {
		return nil, err
	}
	if !d.Has(storage.Templates) {
		return nil, errors.New("Storage does not support templates!") //nolint:staticcheck // upstream's text
	}
	all, err := s.Storage.List(ctx, storeid, storage.Filter{Content: []storage.Content{storage.Templates}})
	slices.SortFunc(all, func(a, b storage.Volume) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// Remove removes a template: a volume, or the path of one.
func (s *Service) Remove(ctx context.Context, text string) error {
	v, err := s.volume(ctx, text)
	if err != nil {
		return err
	}
	if err := s.Storage.Activate(ctx, v.Storage); err != nil {
		return err
	}
	return s.Storage.Free(ctx, v)
}

// volume finds the template that text names. No other file is one, whoever asks.
func (s *Service) volume(ctx context.Context, text string) (id.Volume, error) {
	if strings.HasPrefix(text, "/") {
		c, v, err := s.Storage.Locate(ctx, text)
		if err == nil && c != storage.Templates {
			err = fmt.Errorf("'%s' is no template of any storage", text)
		}
		return v, err
	}
	v, err := id.ParseVolume(text)
	if err != nil {
		return v, err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err == nil && n.Content != storage.Templates {
		err = fmt.Errorf("unable to use volume %s - content type needs to be '%s'", v, storage.Templates)
	}
	return v, err
}
