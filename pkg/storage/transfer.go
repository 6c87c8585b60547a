package storage

import (
	"context"
	"fmt"
	"io"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// ExportFormats returns the formats in which a volume can be written as a stream, the
// best one first; none when it cannot be.
func (s *Service) ExportFormats(ctx context.Context, v id.Volume, st Stream) ([]string, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return nil, err
	}
	if e, ok := p.(Exporter); ok {
		return e.ExportFormats(ctx, v.Name, st), nil
	}
	return nil, nil
}

// ImportFormats returns the formats from which a volume with that name can be made, the
// best one first.
func (s *Service) ImportFormats(ctx context.Context, v id.Volume, st Stream) ([]string, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return nil, err
	}
	if i, ok := p.(Importer); ok {
		return i.ImportFormats(ctx, v.Name, st), nil
	}
	return nil, nil
}

// TransferFormats returns the formats in which one volume can become another, the one
// that its storage likes best first.
func (s *Service) TransferFormats(ctx context.Context, from, to id.Volume, st Stream) ([]string, error) {
	out, err := s.ExportFormats(ctx, from, st)
	if err != nil {
		return nil, err
	}
	in, err := s.ImportFormats(ctx, to, st)
	return CommonFormats(out, in), err
}

// Export writes a volume as a stream. Nothing is written where the storage cannot.
func (s *Service) Export(ctx context.Context, w io.Writer, v id.Volume, st Stream) error {
	p, err := s.use(ctx, v.Storage)
	if err != nil {
		return err
	}
	e, ok := p.(Exporter)
	if !ok {
		d, _ := s.Lookup(ctx, v.Storage)
		return NoExport(d.Type, st.Format)
	}
	if st.BWLimit > 0 {
		w = slowWriter{newPace(ctx, st.BWLimit), w}
		st.BWLimit = 0 // the types need not see to it
	}
	return exist(e.Export(ctx, w, v.Name, st), v)
}

// Import makes a volume from a stream and returns its name: that it was given, or, where
// that is taken and rename is set, a free one.
func (s *Service) Import(ctx context.Context, r io.Reader, v id.Volume, st Stream, rename bool) (id.Volume, error) {
	p, err := s.use(ctx, v.Storage)
	if err != nil {
		return id.Volume{}, err
	}
	i, ok := p.(Importer)
	if !ok {
		d, _ := s.Lookup(ctx, v.Storage)
		return id.Volume{}, NoImport(d.Type, st.Format)
	}
	if st.BWLimit > 0 {
		r = slowReader{newPace(ctx, st.BWLimit), r}
		st.BWLimit = 0
	}
	name, err := i.Import(ctx, r, v.Name, st, rename)
	if err != nil {
		return id.Volume{}, err
	}
	return id.Volume{Storage: v.Storage, Name: name}, nil
}

// A Transfer says how a volume goes through a stream to another storage of this node.
type Transfer struct {
	From   id.Volume
	To     id.Volume // the name that is wanted
	Stream Stream    // an empty format is the best that both storages can
	Rename bool      // another name will do
}

// Transfer copies a volume, with its snapshots where that is asked for, by a stream.
func (s *Service) Transfer(ctx context.Context, t Transfer) (id.Volume, error) {
	formats, err := s.TransferFormats(ctx, t.From, t.To, t.Stream)
	if err != nil {
		return id.Volume{}, err
	}
	if t.Stream.Format == "" {
		if len(formats) == 0 {
			return id.Volume{}, fmt.Errorf("cannot copy '%s' to '%s': the storages have no stream format in common", t.From, t.To)
		}
		t.Stream.Format = formats[0]
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	out := t.Stream
	sent := make(chan error, 1)
	go func() {
		err := s.Export(ctx, w, t.From, out)
		_ = w.CloseWithError(err) // the receiver sees why the stream ends
		sent <- err
	}()
	t.Stream.BWLimit = 0 // one brake is enough
	made, err := s.Import(ctx, r, t.To, t.Stream, t.Rename)
	if err != nil {
		cancel(err)
	} else { // what follows the end of an archive is no reason for the sender to fail
		_, _ = io.Copy(io.Discard, r)
	}
	_ = r.CloseWithError(err)
	if failed := <-sent; failed != nil && err == nil {
		err = failed
	}
	return made, err
}
