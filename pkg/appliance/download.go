package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

// maxTemplate is how large a template may be.
const maxTemplate = 64 << 30

// Check tells whether a template can be loaded onto a storage. It touches nothing.
func (s *Service) Check(ctx context.Context, storeid id.Storage, name string) error {
	_, err := s.Find(ctx, name)
	if err != nil {
		return err
	}
	_, err = s.folder(ctx, storeid)
	return err
}

// folder returns where the templates of a storage lie.
func (s *Service) folder(ctx context.Context, storeid id.Storage) (string, error) {
	d, err := s.Storage.Enabled(ctx, storeid)
	if err != nil {
		return "", err
	}
	if !d.Has(storage.Templates) {
		return "", fmt.Errorf("storage '%s' does not support templates", storeid)
	}
	dir, err := s.Storage.Subdir(ctx, storeid, storage.Templates)
	if err != nil {
		return "", fmt.Errorf("cannot download to storage '%s': %w", storeid, err)
	}
	return dir, nil
}

// Download loads a template onto a storage.
func (s *Service) Download(ctx context.Context, storeid id.Storage, name string) error {
	t, err := s.Find(ctx, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	sum := t.Sum()
	if sum == (fetch.Checksum{}) {
		return fmt.Errorf("the list of %s has no checksum of '%s': it could be anything", t.Source, name)
	}
	dir, err := s.folder(ctx, storeid)
	if err != nil {
		return err
	}
	if err := s.Storage.Activate(ctx, storeid); err != nil {
		return err
	}
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	err = client.File(ctx, fetch.Request{URL: t.Location, To: filepath.Join(dir, t.Template), Sum: sum, Limit: maxTemplate})
	if e, ok := errors.AsType[*fetch.Error](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) {
		return fmt.Errorf("%w; the list may be older than what the server has: run 'pveam update'", err)
	}
	return err
}
