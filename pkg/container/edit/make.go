package edit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/container/unpack"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A newcomer is a container while it is made.
type newcomer struct {
	*Service
	Creation
	values schema.Params // the options without the mount points, as they are kept
	points schema.Params
	later  schema.Params // mount points that are there only when all is unpacked
	undo   *revert.List
	old    *config.Doc // the configuration in whose place this one comes, may be nil
	source *unpack.Source
	// template says that the backup is of a template.
	template bool
}

// make makes the container, whose number is reserved.
func (n *newcomer) make(ctx context.Context) error {
	if n.Restore {
		return n.restore(ctx)
	}
	if _, given := n.values["unprivileged"]; !given {
		n.values["unprivileged"] = "1"
	}
	if n.points[container.Root] == "" {
		n.points[container.Root] = string(n.Creation.storage()) + ":4"
	}
	if err := n.makeVolumes(ctx); err != nil {
		return err
	}
	err := n.open(ctx, func(kind unpack.Kind) error {
		return n.fill(ctx, func(ctx context.Context, root string) error {
			if err := n.unpack(ctx, kind, root); err != nil {
				return err
			}
			return n.setUp(ctx, root)
		})
	})
	if err != nil {
		return err
	}
	return n.finish(ctx)
}

// makeVolumes makes the volumes, and notes each at once: should we be ended, what is left can be
// destroyed.
func (n *newcomer) makeVolumes(ctx context.Context) error {
	made := schema.Params{}
	for _, key := range volumes.InOrder(n.points) {
		one, err := n.Volumes.Make(ctx, n.VM, schema.Params{key: n.points[key]}, n.values, n.undo)
		if err != nil {
			return err
		}
		maps.Copy(made, one)
		if err := n.note(ctx, made); err != nil {
			return err
		}
	}
	n.points = made
	return n.rootDir(ctx, n.VM, n.undo)
}

// note writes down the volumes that have been made.
func (n *newcomer) note(ctx context.Context, made schema.Params) error {
	if n.old != nil {
		return n.change(ctx, n.VM, func(doc *config.Doc) { noteUnused(doc.Values, made) })
	}
	return n.change(ctx, n.VM, func(doc *config.Doc) {
		doc.Values = clone(n.values, made, schema.Params{"lock": lockCreate})
	})
}

// open opens the archive while fn runs.
func (n *newcomer) open(ctx context.Context, fn func(unpack.Kind) error) error {
	path, err := n.archivePath(ctx)
	if err != nil {
		return err
	}
	source, file, err := unpack.OpenFile(path, n.Archive)
	if errors.Is(err, fs.ErrNotExist) {
		if strings.HasPrefix(n.Archive, "/") {
			return fmt.Errorf("can't find file '%s'", n.Archive)
		}
		err = fmt.Errorf("volume '%s' does not exist", n.Archive)
		if !n.Restore {
			api.Printf(ctx, "%v\n", err)
		}
		return err
	}
	if err != nil {
		return err
	}
	defer file.Close()
	n.source = source
	kind, err := unpack.Detect(ctx, source, n.unpackOptions())
	if err != nil {
		return err
	}
	if kind == unpack.Other {
		return fmt.Errorf("'%s' is no archive that a container can be made of, or it is damaged", n.Archive)
	}
	return fn(kind)
}

// checkArchive refuses what cannot be the archive of a container, as far as its name tells.
func (s *Service) checkArchive(ctx context.Context, c Creation) error {
	switch {
	case c.Archive == unpack.Stdin:
		return errors.New("an archive is not read from standard input: write it to a file, and name that")
	case strings.HasPrefix(c.Archive, "/"):
		return nil
	}
	v, err := id.ParseVolume(c.Archive)
	if err != nil {
		return err
	}
	name, err := s.Storage.Parse(ctx, v)
	if err == nil && name.Content != storage.Templates && name.Content != storage.Backups {
		err = fmt.Errorf("'%s' is neither a template nor a backup of a container", v)
	}
	return err
}

// archivePath returns where the archive is.
func (n *newcomer) archivePath(ctx context.Context) (string, error) {
	if strings.HasPrefix(n.Archive, "/") {
		return n.Archive, nil
	}
	v, err := id.ParseVolume(n.Archive)
	if err != nil {
		return "", err
	}
	if err := n.Host.Storage.Activate(ctx, v.Storage); err != nil {
		return "", err
	}
	return n.Host.Storage.Path(ctx, v, "")
}

// unpackOptions say how the archive is unpacked.
func (n *newcomer) unpackOptions() unpack.Options {
	arch := n.values["arch"]
	if arch == "" {
		arch = map[string]string{"386": "i386", "arm": "armhf"}[runtime.GOARCH]
	}
	if arch == "" {
		arch = runtime.GOARCH
	}
	return unpack.Options{IgnoreErrors: n.IgnoreErrors, Arch: arch, Runner: n.Run, Now: n.Now}
}

// checkEmpty refuses a folder of the host that has files in it: those of the archive would
// replace them.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("'%s' cannot become the root of a new container: it is not empty", dir)
	}
	return err
}

// fill mounts the volumes where nobody else sees them and calls fn with the folder. Folders and
// devices of the host are left out, save for the root, and so are volumes of other guests: what
// an archive has in their place is not to be put there.
func (n *newcomer) fill(ctx context.Context, fn func(ctx context.Context, root string) error) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("mount the volumes of CT %d on %s", n.VM, n.RootDir(n.VM))
		return fn(ctx, n.RootDir(n.VM))
	}
	values := clone(n.values, n.points)
	ids, err := volumes.MountIDs(values)
	if err != nil {
		return err
	}
	var points []mount.Point
	for _, p := range container.Typed(values).Points() {
		switch {
		case p.Kind() == container.VolumeSource:
			if _, ok := n.owned(ctx, n.VM, p.Volume); !ok {
				continue
			}
		case p.Key != container.Root:
			continue
		case p.Kind() == container.BindSource:
			if err := checkEmpty(p.Volume); err != nil {
				return err
			}
		}
		m, err := n.Volumes.MountPoint(ctx, p, "")
		if err != nil {
			return err
		}
		m.ReadOnly = m.Frozen // it is not yet as the container sees it
		points = append(points, m)
	}
	host := mount.Host{Warn: func(format string, args ...any) { api.Warnf(ctx, format, args...) }}
	err = private(func() error {
		stack, err := host.Mount(ctx, n.RootDir(n.VM), ids, points)
		if err != nil {
			return err
		}
		err = fn(ctx, n.RootDir(n.VM))
		return errors.Join(err, stack.Unmount(context.WithoutCancel(ctx)))
	})
	n.deactivate(ctx)
	return err
}

// deactivate gives the volumes back: the container does not run yet.
func (n *newcomer) deactivate(ctx context.Context) {
	var all []id.Volume
	for _, named := range container.Volumes(n.points) {
		if v, err := id.ParseVolume(named.ID); err == nil {
			all = append(all, v)
		}
	}
	if err := n.Host.Storage.DeactivateVolumes(context.WithoutCancel(ctx), "", all...); err != nil {
		api.Warnf(ctx, "%v", err)
	}
}

// unpack unpacks the archive into the mounted root.
func (n *newcomer) unpack(ctx context.Context, kind unpack.Kind, root string) error {
	o := n.unpackOptions()
	var err error
	if o.IDs, err = volumes.IDs(n.values); err != nil {
		return err
	}
	if o.Limit, err = n.limit(ctx); err != nil {
		return err
	}
	if kind != unpack.OCI {
		_, err = unpack.Template(ctx, n.source, root, o)
		return err
	}
	image, _, err := unpack.OCIImage(ctx, n.source, root, o)
	if err != nil {
		return err
	}
	return n.asImage(ctx, image, root)
}

// limit returns how fast the archive may be read, in KiB a second.
func (n *newcomer) limit(ctx context.Context) (int, error) {
	r := storage.Rates{Operation: "restore", Override: n.BWLimit, May: func(string, string) bool { return true }}
	for _, named := range container.Volumes(n.points) {
		if v, err := id.ParseVolume(named.ID); err == nil {
			r.Storages = append(r.Storages, v.Storage)
		}
	}
	dc, err := n.datacenter(ctx)
	if err != nil {
		return 0, err
	}
	if dc.BWLimit != nil {
		r.Datacenter = schema.Print(*dc.BWLimit)
	}
	return n.Host.Storage.BandwidthLimit(ctx, r)
}

// finish makes the configuration what it shall be.
func (n *newcomer) finish(ctx context.Context) error {
	values := clone(n.values, n.points, n.later)
	defaults(n.VM, values)
	// Until they are gone, the volumes of the one before are those of the new one.
	for _, v := range n.replaced(ctx) {
		noteUnused(values, schema.Params{"": v.String()})
	}
	return n.change(ctx, n.VM, func(doc *config.Doc) { *doc = config.Doc{Values: values} })
}
