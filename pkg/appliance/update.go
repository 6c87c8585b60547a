package appliance

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage/fetch"
)

// How much a server may send.
const (
	maxPacked    = 8 << 20
	maxSignature = 64 << 10
)

// Update loads the lists of all sources. One that cannot be loaded, or whose signature is not
// good, stays as it was, and Update fails when all have been tried.
func (s *Service) Update(ctx context.Context) error {
	sources, err := s.Sources()
	if err != nil {
		return err
	}
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		for _, one := range sources {
			p.Stepf("download %s.gz and its signature to %s", one.URL, s.listPath(one))
		}
		return nil
	}
	log, err := s.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	log.say("starting update")
	failed := false
	for _, one := range sources {
		err := s.update(ctx, client, one, log)
		if ctx.Err() != nil {
			log.say(fmt.Sprintf("interrupted: %v", context.Cause(ctx)))
			return context.Cause(ctx)
		}
		if err != nil {
			failed = true
			log.say(one.Host + ": " + err.Error())
			fmt.Fprintf(api.StreamsOf(ctx).Err, "%s: %v\n", one.Host, err)
		}
	}
	if failed {
		return fmt.Errorf("update failed - see %s for details", s.path(logFile))
	}
	return nil
}

// update loads the list of one source.
func (s *Service) update(ctx context.Context, client *fetch.Client, one Source, log *logger) error {
	keys, err := s.keyring(one)
	if err != nil {
		return err
	}
	load := func(address string, limit int64) ([]byte, error) {
		log.say("start download " + address)
		data, err := client.Get(ctx, address, limit)
		if err == nil {
			log.say(fmt.Sprintf("download finished: %d bytes", len(data)))
		}
		return data, err
	}
	signature, err := load(one.URL+".asc", maxSignature)
	if err != nil {
		return err
	}
	packed, err := load(one.URL+".gz", maxPacked)
	if err != nil {
		return err
	}
	list, err := unpack(packed)
	if err != nil {
		return fmt.Errorf("unable to unpack '%s.gz': %w", one.URL, err)
	}
	if err := s.verify(ctx, list, signature, keys, func(text string) { log.say("signature verification: " + text) }); err != nil {
		return err
	}
	if _, err := ParseList(string(list), one.Base()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.path(listDir), 0o755); err != nil {
		return err
	}
	if err := errors.Join(file.Write(s.listPath(one), list, 0o644), file.CleanTemps(s.listPath(one))); err != nil {
		return err
	}
	log.say("update successful")
	return nil
}

// unpack undoes the compression of a list, within bounds.
func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	list, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err == nil && len(list) > maxList {
		err = fmt.Errorf("%w: more than %d bytes", fetch.ErrTooLarge, maxList)
	}
	return list, err
}

// maxLog is from which size on the log is put aside.
const maxLog = 256 << 10

// A logger writes the log of pveam.
type logger struct {
	*os.File
	now func() time.Time
}

func (s *Service) openLog() (*logger, error) {
	name := s.path(logFile)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	if st, err := os.Stat(name); err == nil && st.Size() > maxLog {
		if err := os.Rename(name, name+".0"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	return &logger{f, s.now}, nil
}

// say writes lines. A log that cannot be written stops nothing.
func (l *logger) say(text string) {
	for line := range strings.Lines(text) {
		if line = clean(line); line != "" {
			_, _ = fmt.Fprintf(l, "%s %s\n", l.now().Format(time.DateTime), line)
		}
	}
}
