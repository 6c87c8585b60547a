package lxc

import (
	"context"
	"math"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/edit"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) createMethods() []api.Method {
	return []api.Method{
		api.NewTask(api.Method{
			Name: "create_vm", Verb: "POST", Path: "/nodes/{node}/lxc",
			Doc: "Create a container, or restore one.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{User: "all", Described: true},
		}, s.prepareCreate, s.create),
	}
}

type createRequest struct {
	target
	settings
	Archive      string      `pve:"ostemplate" doc:"Template to make it of, or backup to restore: a volume, or a path." maxlen:"255"`
	BWLimit      *float64    `pve:"bwlimit" doc:"Most bandwidth for reading the archive, in KiB/s." min:"0"`
	Force        *bool       `pve:"force" doc:"Let a backup take the place of a container that is there."`
	IgnoreErrors *bool       `pve:"ignore-unpack-errors" doc:"Go on where files cannot be unpacked, with a warning for each."`
	Password     *string     `pve:"password" doc:"Password of root in the container." minlen:"5"`
	Pool         *string     `pve:"pool" doc:"Pool that the container becomes a member of." format:"pve-poolid"`
	Restore      *bool       `pve:"restore" doc:"The archive is a backup."`
	SSHKeys      *string     `pve:"ssh-public-keys" doc:"Public keys, one a line, to log in as root with."`
	Start        *bool       `pve:"start" doc:"Start the container once it is created." default:"0"`
	Storage      *id.Storage `pve:"storage" doc:"Storage for new volumes that do not name one." default:"local"`
	Unique       *bool       `pve:"unique" doc:"Give the restored container hardware addresses of its own." requires:"restore"`
}

func (r createRequest) creation() edit.Creation {
	c := edit.Creation{
		VM: r.VMID, Values: r.options(), Archive: r.Archive, Password: value(r.Password), SSHKeys: value(r.SSHKeys), Pool: value(r.Pool),
		IgnoreErrors: is(r.IgnoreErrors), Start: is(r.Start), Restore: is(r.Restore), Force: is(r.Force), Unique: is(r.Unique),
	}
	if r.Storage != nil {
		c.Storage = *r.Storage
	}
	if r.BWLimit != nil {
		c.BWLimit = new(int(math.Ceil(*r.BWLimit)))
	}
	return c
}

func (s *Service) prepareCreate(ctx context.Context, req createRequest) (api.Job, error) {
	kind := "vzcreate"
	if is(req.Restore) {
		kind = "vzrestore"
	}
	return req.job(kind), s.Edit.CheckCreate(ctx, req.creation())
}

func (s *Service) create(ctx context.Context, req createRequest) error {
	return s.Edit.Create(ctx, req.creation())
}
