package edit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/guest/account"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Creation is a container to be made, from a template or from a backup.
type Creation struct {
	VM           id.VM
	Values       schema.Params // the options, as given; left as they are
	Archive      string        // the template or the backup: a volume, or a path
	Storage      id.Storage    // for new volumes that name none; empty for local
	Password     string        // of root; empty locks it
	SSHKeys      string        // who may log in as root with them
	Pool         string        // to be a member of; may be empty
	BWLimit      *int          // for reading the archive, in KiB/s; nil for what the storages say
	IgnoreErrors bool          // what cannot be unpacked is told and left out
	Start        bool          // once it is made

	Restore bool
	Force   bool // a backup may take the place of a container that is there
	Unique  bool // a restored container gets hardware addresses of its own
}

// wrap says what did not work.
func (c Creation) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case c.Restore:
		return fmt.Errorf("unable to restore CT %d - %w", c.VM, err)
	}
	return fmt.Errorf("unable to create CT %d - %w", c.VM, err)
}

// storage returns where volumes go that name no storage.
func (c Creation) storage() id.Storage {
	if c.Storage == "" {
		return "local"
	}
	return c.Storage
}

// CheckCreate tells what is wrong with a container to be made, and touches nothing.
func (s *Service) CheckCreate(ctx context.Context, c Creation) error {
	_, _, err := s.settled(ctx, c)
	return err
}

// settled returns the options of c as they are kept, and its mount points apart from them.
func (s *Service) settled(ctx context.Context, c Creation) (values, points schema.Params, err error) {
	if err := s.checkNumber(ctx, c); err != nil {
		return nil, nil, err
	}
	if err := account.CheckSSHKeys(c.SSHKeys); err != nil {
		return nil, nil, &api.Error{Status: http.StatusBadRequest, Message: err.Error()}
	}
	if err := s.checkPool(ctx, c.Pool); err != nil {
		return nil, nil, err
	}
	values, points = schema.Params{}, schema.Params{}
	for _, key := range sorted(c.Values) {
		switch {
		case guest.IsUnused(key):
			api.Warnf(ctx, "ignoring '%s', cannot create/restore with unused volume", key)
		case container.IsMountPoint(key):
			points[key] = c.Values[key]
		default:
			values[key] = c.Values[key]
		}
	}
	if err := s.checkPoints(ctx, c, points); err != nil {
		return nil, nil, err
	}
	set := settler{Service: s, values: values}
	if err := set.settle(ctx); err != nil {
		return nil, nil, err
	}
	return values, points, s.checkArchive(ctx, c)
}

// checkNumber refuses a number that is taken, save where a backup takes the place of what is
// there.
func (s *Service) checkNumber(ctx context.Context, c Creation) error {
	taken, ok := errors.AsType[*cluster.TakenError](s.Cluster.CheckFree(ctx, c.VM))
	switch {
	case !ok:
		return s.Cluster.CheckFree(ctx, c.VM)
	case !c.Restore || !c.Force || taken.Guest.Kind != cluster.Container || taken.Guest.Node != s.Node:
		return taken
	}
	return s.checkReplaceable(ctx, c.VM)
}

// checkReplaceable refuses to put a backup in the place of a container that is in use.
func (s *Service) checkReplaceable(ctx context.Context, vmid id.VM) error {
	running, err := s.Running(ctx, vmid)
	if err != nil {
		return err
	}
	if running {
		return errors.New("can't overwrite running container")
	}
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	return guest.CheckProtection(doc, fmt.Sprintf("unable to restore CT %d", vmid))
}

func (s *Service) checkPool(ctx context.Context, pool string) error {
	if pool == "" {
		return nil
	}
	r, err := access.Load(ctx, s.Cluster)
	if err == nil && !r.HasPool(pool) {
		err = &api.Error{Status: http.StatusForbidden, Message: fmt.Sprintf("Permission check failed (pool '%s' does not exist)", pool)}
	}
	return err
}

// checkPoints checks mount points of a new container. A size without a storage gets one.
func (s *Service) checkPoints(ctx context.Context, c Creation, points schema.Params) error {
	if len(points) > 0 && points[container.Root] == "" {
		return errors.New("mount points configured, but 'rootfs' not set - aborting")
	}
	if points[container.Root] == "" {
		return s.checkStorage(ctx, c.storage())
	}
	for _, key := range sorted(points) {
		p, err := container.ParsePoint(key, points[key])
		if err != nil {
			return err
		}
		if strings.Trim(p.Volume, "0123456789.") == "" {
			p.Volume = string(c.storage()) + ":" + p.Volume
			points[key] = p.Value()
		}
		if p.Kind() != container.VolumeSource {
			continue
		}
		v, err := id.ParseVolume(p.Volume)
		if err != nil {
			return err
		}
		if err := s.checkStorage(ctx, v.Storage); err != nil {
			return err
		}
		if key == container.Root && !isWish(p.Volume) {
			if err := s.checkOwner(ctx, c.VM, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOwner refuses the volume of another guest, whose files those of the archive would replace.
func (s *Service) checkOwner(ctx context.Context, vmid id.VM, v id.Volume) error {
	name, err := s.Storage.Parse(ctx, v)
	if err == nil && name.Guest != vmid {
		err = fmt.Errorf("rootfs: volume '%s' cannot become the root of CT %d: it belongs to guest %d", v, vmid, name.Guest)
	}
	return err
}

// checkStorage refuses a storage that cannot hold containers.
func (s *Service) checkStorage(ctx context.Context, storeid id.Storage) error {
	d, err := s.Storage.Enabled(ctx, storeid)
	if err == nil && !d.Has(storage.Rootdir) {
		err = api.BadParam("storage", "storage '%s' does not support container directories", storeid)
	}
	return err
}

// Create makes a container. When it fails, nothing of it is left; a container in whose place
// a backup was to come is as it was.
func (s *Service) Create(ctx context.Context, c Creation) error {
	values, points, err := s.settled(ctx, c)
	if err != nil {
		return err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	old, err := s.reserve(ctx, c, undo)
	if err != nil {
		return c.wrap(err)
	}
	n := &newcomer{Service: s, Creation: c, values: values, points: points, undo: undo, old: old}
	if err := n.make(ctx); err != nil {
		return c.wrap(err)
	}
	undo.Success()
	if err := n.clearOld(ctx); err != nil {
		return err
	}
	n.asTemplate(ctx)
	if err := s.join(ctx, c); err != nil {
		return err
	}
	if !c.Start || n.template {
		return nil
	}
	return s.Start(ctx, c.VM)
}

// lockCreate is the lock of a container that is being made.
const lockCreate = "create"

// reserve takes the number of the container. It returns the configuration in whose place the
// new one comes, nil where there is none.
func (s *Service) reserve(ctx context.Context, c Creation, undo *revert.List) (old *config.Doc, err error) {
	err = s.Locked(ctx, c.VM, "creation of "+c.VM.String(), func(ctx context.Context) error {
		if err := s.checkNumber(ctx, c); err != nil {
			return err
		}
		if _, taken := errors.AsType[*cluster.TakenError](s.Cluster.CheckFree(ctx, c.VM)); !taken {
			undo.Add("remove the configuration", func(ctx context.Context) error {
				return s.Cluster.Remove(ctx, cluster.GuestFile(s.Node, cluster.Container, c.VM))
			})
			return s.Save(ctx, c.VM, &config.Doc{Values: schema.Params{"lock": lockCreate}})
		}
		doc, err := s.Load(ctx, c.VM)
		if err != nil {
			return err
		}
		if err := guest.CheckLock(cluster.Container, doc); err != nil {
			return err
		}
		old = doc.Clone()
		undo.Add("unlock the configuration", func(ctx context.Context) error { return s.Save(ctx, c.VM, old) })
		doc.Values["lock"] = lockCreate
		return s.Save(ctx, c.VM, doc)
	})
	return old, err
}

// change changes the configuration of a container that is being made.
func (s *Service) change(ctx context.Context, vmid id.VM, fn func(*config.Doc)) error {
	return s.Change(ctx, vmid, "creation of "+vmid.String(), func(_ context.Context, doc *config.Doc) error {
		if doc.Values["lock"] != lockCreate {
			return errors.New("its lock was taken away meanwhile")
		}
		fn(doc)
		return nil
	})
}

// join makes the container a member of the pool it was made for.
func (s *Service) join(ctx context.Context, c Creation) error {
	if c.Pool == "" {
		return nil
	}
	return access.Change(ctx, s.Cluster, func(r *access.Rights) error { return r.AddToPool(c.Pool, c.VM) })
}

// rootDir makes the folder on which the root of the container is mounted.
func (s *Service) rootDir(ctx context.Context, vmid id.VM, undo *revert.List) error {
	if plan.From(ctx) != nil {
		return nil
	}
	dir := s.Dir(vmid)
	if _, err := os.Stat(dir); err != nil {
		undo.Add("remove "+dir, func(context.Context) error {
			return errors.Join(os.Remove(s.RootDir(vmid)), os.Remove(dir))
		})
	}
	return os.MkdirAll(s.RootDir(vmid), 0o755)
}

// defaults gives a new container what every one has.
func defaults(vmid id.VM, values schema.Params) {
	for key, value := range map[string]string{"hostname": "CT" + vmid.String(), "memory": "512"} {
		if values[key] == "" {
			values[key] = value
		}
	}
	if _, given := values["swap"]; !given {
		values["swap"] = "512"
	}
	if on, _ := schema.ParseBool(values["unprivileged"]); !on {
		delete(values, "unprivileged")
	}
}

// clone returns a copy of values that may be changed.
func clone(values ...schema.Params) schema.Params {
	all := schema.Params{}
	for _, v := range values {
		maps.Copy(all, v)
	}
	return all
}
