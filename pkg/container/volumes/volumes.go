// Package volumes is what the mount points of containers are on: it makes volumes with a
// file system, copies, moves and grows them, gives them to other containers, checks them,
// and finds those that nobody names.
//
// To look into a volume it mounts it for itself alone, in no tree: that is gone when the
// command ends, however it does. What a failed step has made it removes.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Service works on the volumes of the containers of a node.
type Service struct {
	*ct.Host
}

// newVolume is how a user asks for a new volume: the storage and the size in GiB.
var newVolume = pattern.New(`^([^:\s/]+):(\d+(?:\.\d+)?)$`)

// AsksNew takes apart what asks for a new volume, such as local:4. ok is false for a volume
// that is there.
func AsksNew(volume string) (storeid id.Storage, gib string, ok bool) {
	m := newVolume.FindStringSubmatch(volume)
	if m == nil {
		return "", "", false
	}
	return id.Storage(m[1]), m[2], true
}

// CheckStorage refuses a storage that new volumes of containers cannot be on, in the words of
// the requests that name one.
func (s *Service) CheckStorage(ctx context.Context, storeid id.Storage) error {
	d, err := s.Storage.Lookup(ctx, storeid)
	if err == nil && !d.Has(storage.Rootdir) {
		err = fmt.Errorf("storage '%s' does not allow content type 'rootdir' (Container)", storeid)
	}
	return err
}

// room finds a storage that new volumes of containers can be on.
func (s *Service) room(ctx context.Context, storeid id.Storage) (storage.Definition, error) {
	d, err := s.Storage.Lookup(ctx, storeid)
	if err == nil && !d.Has(storage.Rootdir) {
		err = fmt.Errorf("content type 'rootdir' is not available or configured on storage '%s'", storeid)
	}
	return d, err
}

// IDs returns the map of users of a container with the given values.
func IDs(values schema.Params) (idmap.Map, error) {
	var lines []string
	for _, line := range container.RawLines(values) {
		if idmap.IsKey(line.Key) {
			lines = append(lines, line.Value)
		}
	}
	on, _ := schema.ParseBool(values["unprivileged"])
	return idmap.Of(lines, on)
}

// rootOf returns who of the host the root of a container with the given values is.
func rootOf(values schema.Params) (uid, gid int, err error) {
	ids, err := IDs(values)
	if err != nil {
		return 0, 0, err
	}
	u, g, err := ids.Root()
	return int(u), int(g), err
}

// mounter is the machine, as far as it mounts.
func (s *Service) mounter(ctx context.Context) mount.Host {
	return mount.Host{Warn: func(format string, args ...any) { api.Warnf(ctx, format, args...) }}
}

// lookup returns a mount point of a container, or one of its unused volumes.
func lookup(doc *config.Doc, key string) (container.Point, error) {
	value, ok := doc.Values[key]
	if !ok {
		// Upstream reads what is not there, and says what is missing in that.
		text := "format error\nvolume: property is missing and it is not optional"
		if key != container.Root {
			text += "\nmp: property is missing and it is not optional"
		}
		return container.Point{}, errors.New(text)
	}
	return container.ParsePoint(key, value)
}

// checkDigest refuses a change that is based on another configuration.
func checkDigest(doc *config.Doc, given *string) error {
	if given != nil && *given != "" && doc.Digest != *given {
		return errors.New("detected modified configuration - file changed by other user? Try again.") //nolint:staticcheck // upstream's text
	}
	return nil
}

// inSnapshot tells whether a snapshot of the container names a volume.
func inSnapshot(doc *config.Doc, volume string) bool {
	for _, values := range doc.Snapshots {
		for _, v := range container.Volumes(values) {
			if v.ID == volume {
				return true
			}
		}
	}
	return false
}

// undoList makes a list of steps to undo whose own faults become warnings.
func undoList(ctx context.Context) *revert.List {
	return revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
}

// toFree notes that a volume is removed when the work fails.
func (s *Service) toFree(undo *revert.List, v id.Volume) {
	undo.Add("free "+v.String(), func(ctx context.Context) error { return s.Storage.Free(ctx, v) })
}

// tell tells the user of a step, which a dry run does not take.
func tell(ctx context.Context, format string, args ...any) {
	if plan.From(ctx) == nil {
		api.Printf(ctx, format, args...)
	}
}

// command runs a program whose output the user sees, or tells of it in a dry run.
func (s *Service) command(ctx context.Context, name string, args ...string) error {
	c := run.Command(name, args...)
	c.Env = []string{"LC_ALL=C"}
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", c)
		return nil
	}
	streams := api.StreamsOf(ctx)
	c.Stdout, c.Stderr = streams.Out, streams.Err
	return s.Run.Run(ctx, c)
}

// lines sends each line of what is written to out, where want lets it through.
func lines(out io.Writer, want func(string) bool) *run.LineWriter {
	return run.NewLineWriter(func(line string) {
		if want(line) {
			fmt.Fprintln(out, line)
		}
	})
}

// setLock notes in a configuration, whose lock the caller holds, what the container is locked
// for from now on.
func (s *Service) setLock(ctx context.Context, vmid id.VM, doc *config.Doc, lock string) error {
	doc.Values["lock"] = lock
	return s.Save(ctx, vmid, doc)
}

// unlock takes away the lock that a step has set, and changes what else is to be different
// from then on. It is done also when the step was ended from outside.
func (s *Service) unlock(ctx context.Context, vmid id.VM, lock string, change func(*config.Doc) error) error {
	ctx = context.WithoutCancel(ctx)
	return s.Change(ctx, vmid, "unlock", func(_ context.Context, doc *config.Doc) error {
		if doc.Values["lock"] != lock {
			return fmt.Errorf("the lock '%s' of container %s is gone: somebody has removed it", lock, vmid)
		}
		delete(doc.Values, "lock")
		if change == nil {
			return nil
		}
		return change(doc)
	})
}
