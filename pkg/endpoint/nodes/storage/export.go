package storage

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
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
		p.Stepf("export %s as %s to %s", v, req.Format, run.Quote(req.Filename))
		return nothing{}, nil
	}
	if req.Filename == "-" {
		return nothing{}, s.Storage.Export(ctx, api.StreamsOf(ctx).Out, v, st)
	}
	f, err := os.OpenFile(req.Filename, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return nothing{}, &openError{req.Filename, err}
	}
	err = errors.Join(s.Storage.Export(ctx, f, v, st), f.Close())
	if err != nil {
		if info, e := os.Lstat(req.Filename); e == nil && info.Mode().IsRegular() { // and no device
			_ = os.Remove(req.Filename)
		}
	}
	return nothing{}, err
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
