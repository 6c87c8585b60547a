package storage

import (
	"context"
	"fmt"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Notes returns the notes of a backup.
func (s *Service) Notes(ctx context.Context, v id.Volume) (string, error) {
	p, err := ability[Annotator](ctx, s, v, "can't keep notes on volumes of type '%s'")
	if err != nil {
		return "", err
	}
	text, err := p.Notes(ctx, v.Name)
	return text, exist(err, v)
}

// SetNotes replaces the notes of a backup.
func (s *Service) SetNotes(ctx context.Context, v id.Volume, text string) error {
	p, err := s.annotated(ctx, v)
	if err != nil {
		return err
	}
	return p.SetNotes(ctx, v.Name, text)
}

// annotated opens the storage of a backup that is there: notes of one that is not would
// lie about for ever.
func (s *Service) annotated(ctx context.Context, v id.Volume) (Annotator, error) {
	p, err := ability[Annotator](ctx, s, v, "can't keep notes on volumes of type '%s'")
	if err != nil {
		return nil, err
	}
	_, err = s.Info(ctx, v)
	return p, err
}

// Protected tells whether a backup is kept from being removed.
func (s *Service) Protected(ctx context.Context, v id.Volume) (bool, error) {
	p, err := ability[Protector](ctx, s, v, "can't protect volumes of type '%s'")
	if err != nil {
		return false, err
	}
	return p.Protected(ctx, v.Name)
}

// SetProtected keeps a backup from being removed, or lets it go. A storage may limit how
// many backups of a guest are kept so.
func (s *Service) SetProtected(ctx context.Context, v id.Volume, on bool) error {
	p, err := ability[Protector](ctx, s, v, "can't protect volumes of type '%s'")
	if err != nil {
		return err
	}
	if _, err := s.Info(ctx, v); err != nil {
		return err
	}
	if was, err := p.Protected(ctx, v.Name); err != nil || was == on {
		return err
	}
	if on {
		if err := s.mayProtect(ctx, v); err != nil {
			return err
		}
	}
	return p.SetProtected(ctx, v.Name, on)
}

// mayProtect fails when the guest of a backup has as many protected ones as it may.
func (s *Service) mayProtect(ctx context.Context, v id.Volume) error {
	d, err := s.Lookup(ctx, v.Storage)
	if err != nil {
		return err
	}
	most, err := strconv.Atoi(d.Options["max-protected-backups"])
	if err != nil || most < 0 {
		return nil //nolint:nilerr // no limit is given
	}
	n, err := s.Parse(ctx, v)
	if err != nil || n.Guest == 0 {
		return err
	}
	backups, err := s.List(ctx, v.Storage, Filter{Content: []Content{Backups}, Guest: n.Guest})
	if err != nil {
		return err
	}
	count := 0
	for _, b := range backups {
		if b.Protected {
			count++
		}
	}
	if count >= most {
		return fmt.Errorf("the number of protected backups per guest is limited to %d on storage '%s'", most, v.Storage)
	}
	return nil
}
