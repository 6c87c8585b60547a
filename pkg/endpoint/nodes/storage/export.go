package storage

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func (s *Service) transferMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "export", Doc: "Write a volume as a stream.", Protected: true}, s.export),
		api.New(api.Method{Name: "import", Doc: "Make a volume from a stream.", Protected: true}, s.importStream),
	}
}

type exportRequest struct {
	Base          *string `pve:"base" doc:"Snapshot that the receiver has already." pattern:"(?i:[a-z0-9_\\-]{1,40})" maxlen:"40"`
	Filename      string  `pve:"filename" doc:"File to write to; - is the standard output."`
	Format        string  `pve:"format" doc:"Format of the stream." enum:"raw+size|tar+size|qcow2+size|vmdk+size|zfs|btrfs"`
	Snapshot      *string `pve:"snapshot" doc:"Snapshot to write." pattern:"(?i:[a-z0-9_\\-]{1,40})" maxlen:"40"`
	SnapshotList  *string `pve:"snapshot-list" doc:"Snapshots to write, the oldest first." format:"string-list"`
	Volume        string  `pve:"volume" doc:"Volume to write."`
	WithSnapshots *bool   `pve:"with-snapshots" doc:"Write the snapshots before it as well." default:"0"`
}

func (s *Service) export(ctx context.Context, req exportRequest) (nothing, error) {
	v, err := id.ParseVolume(req.Volume)
	if err != nil {
		return nothing{}, errors.New("cannot export volume '" + req.Volume + "'")
	}
	st := storage.Stream{Format: req.Format, Snapshot: text(req.Snapshot), Base: text(req.Base), All: req.WithSnapshots != nil && *req.WithSnapshots}
	if req.SnapshotList != nil {
		st.Snapshots = schema.SplitList(*req.SnapshotList)
		st.All = true
	}
	if p := plan.From(ctx); p != nil {
		return nothing{}, s.rehearseExport(ctx, p, v, st, req.Filename)
	}
	if req.Filename == "-" {
		return nothing{}, s.Storage.Export(ctx, api.StreamsOf(ctx).Out, v, st)
	}
	return nothing{}, fill(ctx, req.Filename, func(w io.Writer) error { return s.Storage.Export(ctx, w, v, st) })
}

// rehearseExport tells what would be written, or why nothing could be.
func (s *Service) rehearseExport(ctx context.Context, p *plan.Plan, v id.Volume, st storage.Stream, filename string) error {
	formats, err := s.Storage.ExportFormats(ctx, v, st)
	if err != nil {
		return err
	}
	if !slices.Contains(formats, st.Format) {
		d, err := s.Storage.Enabled(ctx, v.Storage)
		return cmp.Or(err, storage.NoExport(d.Type, st.Format))
	}
	if _, err := s.Storage.Info(ctx, v); err != nil {
		return err
	}
	p.Stepf("export %s as %s to %s", v, st.Format, run.Quote(filename))
	return nil
}

// fill writes to what the user named. Where it fails, a file that is new goes and one that
// was there is as it was; a device or a pipe gets what comes.
func fill(ctx context.Context, name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err == nil {
		if err = errors.Join(write(f), f.Close()); err != nil {
			_ = os.Remove(name)
		}
		return err
	}
	if errors.Is(err, fs.ErrExist) {
		f, err = openPatiently(ctx, name, os.O_WRONLY)
	}
	if err != nil {
		return asOpenError(name, err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, write(f), f.Close())
	}
	defer f.Close() //nolint:errcheck // it holds the lock alone
	return replace(name, f, info.Mode().Perm(), write)
}

// replace writes beside a file and puts it in place at the end. The lock tells what a
// killed export left there from what another one is writing.
func replace(name string, old *os.File, perm fs.FileMode, write func(io.Writer) error) error {
	if err := syscall.Flock(int(old.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return asOpenError(name, err)
	}
	if err := file.CleanTemps(name); err != nil {
		return err
	}
	var failed error
	err := file.WriteFunc(name, perm, func(w io.Writer) error {
		failed = write(w)
		return failed
	})
	return cmp.Or(failed, err)
}

// openPatiently opens what is there. A named pipe waits for its other side, which ctx ends.
func openPatiently(ctx context.Context, name string, flag int) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(name, flag, 0)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
	}
	// Somebody on the other side, and be it we, is what the open waits for.
	if other, err := os.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
		defer other.Close() //nolint:errcheck // nothing was written
		if o := <-done; o.err == nil {
			_ = o.f.Close()
		}
	}
	return nil, context.Cause(ctx)
}

// asOpenError tells of a file that cannot be opened, or why nobody waited for it.
func asOpenError(name string, err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); !ok {
		return err
	}
	return &openError{name, err}
}

// text returns a string that may not be given.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// An openError tells of a file that cannot be opened. Upstream leaves with the number of
// the system's error, and so do we.
type openError struct {
	name string
	err  error
}

// Error reads like "open(FILE): No such file or directory".
func (e *openError) Error() string {
	if errno, ok := errors.AsType[syscall.Errno](e.err); ok {
		return "open(" + e.name + "): " + capital(errno.Error())
	}
	return "open(" + e.name + "): " + e.err.Error()
}

// Unwrap returns the cause.
func (e *openError) Unwrap() error { return e.err }

// ExitCode is what a command leaves with.
func (e *openError) ExitCode() int {
	if errno, ok := errors.AsType[syscall.Errno](e.err); ok && errno > 0 && errno < 256 {
		return int(errno)
	}
	return 255
}

// capital writes an error of the system as C does.
func capital(text string) string {
	if text == "" || text[0] < 'a' || text[0] > 'z' {
		return text
	}
	return string(text[0]-'a'+'A') + text[1:]
}
