package lxc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/edit"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// pointKey is an option that holds a mount point.
type pointKey string

// Describe lists the options.
func (pointKey) Describe(s *schema.Schema) { s.Type, s.Enum = "string", pointKeys() }

// volumeKey is an option that holds a volume, in use or not.
type volumeKey string

// Describe lists the options.
func (volumeKey) Describe(s *schema.Schema) {
	s.Type, s.Enum = "string", append(pointKeys(), numbered("unused")...)
}

func pointKeys() []string { return append([]string{container.Root}, numbered("mp")...) }

// numbered returns the members of a family of options.
func numbered(family string) []string {
	const most = 256
	keys := make([]string, most)
	for i := range keys {
		keys[i] = family + strconv.Itoa(i)
	}
	return keys
}

func (s *Service) volumeMethods() []api.Method {
	method := func(name, verb, path, doc string) api.Method {
		return api.Method{
			Name: name, Verb: verb, Path: "/nodes/{node}/lxc/{vmid}/" + path, Doc: doc, ProxyTo: "node", Protected: true,
			Permissions: onCT("VM.Config.Disk"),
		}
	}
	move := method("move_volume", "POST", "move_volume", "Move a volume to another storage, or to another container.")
	move.Permissions.Described = true
	resize := method("resize_vm", "PUT", "resize", "Make a volume larger.")
	resize.Permissions = api.Permissions{Check: api.AnyPerm("/vms/{vmid}", "VM.Config.Disk")}
	return []api.Method{
		api.NewTask(move, s.prepareMove, s.move),
		api.NewTask(resize, s.prepareResize, s.resize),
		api.New(api.Method{Tool: tool, Name: "rescan", Doc: "Look for changed sizes, and for volumes that no container names."}, s.rescan),
		api.New(api.Method{Tool: tool, Name: "fsck", Doc: "Check the file system of a mount point."}, s.fsck),
		api.New(api.Method{Tool: tool, Name: "fstrim", Doc: "Tell the storages what a container no longer uses."}, s.fstrim),
		api.New(api.Method{Tool: tool, Name: "df", Doc: "Show how full the volumes of a container are."}, s.df),
	}
}

type moveRequest struct {
	target
	BWLimit      *float64    `pve:"bwlimit" doc:"Most bandwidth for the copy, in KiB/s." min:"0"`
	Delete       *bool       `pve:"delete" doc:"Remove the source once it is copied, instead of keeping it unused." default:"0"`
	Digest       *string     `pve:"digest" doc:"Refuse where the file has another SHA-1 digest." maxlen:"40"`
	Storage      *id.Storage `pve:"storage" doc:"Storage to move to."`
	TargetDigest *string     `pve:"target-digest" doc:"Refuse where the other container's file has another SHA-1 digest." maxlen:"40"`
	TargetVMID   *id.VM      `pve:"target-vmid" doc:"Container that the volume goes to."`
	TargetVolume *volumeKey  `pve:"target-volume" doc:"Option of the other container that gets the volume; the same one without."`
	Volume       volumeKey   `pve:"volume" doc:"Volume to move."`
}

func (r moveRequest) toStorage() volumes.Move {
	o := volumes.Move{VM: r.VMID, Key: string(r.Volume), Storage: *r.Storage, Delete: is(r.Delete), Digest: r.Digest}
	if r.BWLimit != nil {
		o.BWLimit = new(int(math.Ceil(*r.BWLimit)))
	}
	return o
}

func (s *Service) toContainer(r moveRequest) volumes.Reassign {
	key := r.Volume
	if r.TargetVolume != nil {
		key = *r.TargetVolume
	}
	return volumes.Reassign{
		VM: r.VMID, Key: string(r.Volume), Target: *r.TargetVMID, TargetKey: string(key), Digest: r.Digest, TargetDigest: r.TargetDigest,
		Attach: func(ctx context.Context, vmid id.VM, key, value string) error {
			return s.Edit.Update(ctx, edit.Update{VM: vmid, Values: schema.Params{key: value}})
		},
	}
}

func (s *Service) prepareMove(ctx context.Context, req moveRequest) (api.Job, error) {
	both := func(text string) error { return api.ParamError(schema.Faults{"storage": text, "target-vmid": text}) }
	switch {
	case req.TargetVMID != nil && req.Storage != nil:
		return api.Job{}, both("either set 'storage' or 'target-vmid', but not both")
	case req.TargetVMID != nil:
		to := s.toContainer(req)
		name := fmt.Sprintf("%s-%s>%s-%s", to.VM, to.Key, to.Target, to.TargetKey)
		return api.Job{Type: "move_volume", ID: name}, s.Volumes.CheckReassign(ctx, to)
	case req.Storage != nil:
		return api.Job{Type: "move_volume", ID: req.VMID.String()}, s.Volumes.CheckMove(ctx, req.toStorage())
	}
	return api.Job{}, both("both 'storage' and 'target-vmid' missing, either needs to be set")
}

func (s *Service) move(ctx context.Context, req moveRequest) error {
	if req.TargetVMID != nil {
		return s.Volumes.Reassign(ctx, s.toContainer(req))
	}
	return s.Volumes.Move(ctx, req.toStorage())
}

type resizeRequest struct {
	target
	Digest *string  `pve:"digest" doc:"Refuse where the file has another SHA-1 digest." maxlen:"40"`
	Disk   pointKey `pve:"disk" doc:"Volume to make larger."`
	Size   string   `pve:"size" doc:"New size, or with + in front how much to add; volumes do not shrink." pattern:"\\+?\\d+(\\.\\d+)?[KMGT]?"`
}

func (r resizeRequest) resize() volumes.Resize {
	return volumes.Resize{VM: r.VMID, Key: string(r.Disk), Size: r.Size, Digest: r.Digest}
}

func (s *Service) prepareResize(ctx context.Context, req resizeRequest) (api.Job, error) {
	return api.Job{Type: "resize", ID: req.VMID.String()}, s.Volumes.CheckResize(ctx, req.resize())
}

func (s *Service) resize(ctx context.Context, req resizeRequest) error {
	return s.Volumes.Resize(ctx, req.resize())
}

type rescanRequest struct {
	DryRun *bool  `pve:"dryrun" doc:"Say what would change, and change nothing." default:"0"`
	VMID   *id.VM `pve:"vmid" doc:"Container to look at; all without one."`
}

func (s *Service) rescan(ctx context.Context, req rescanRequest) (nothing, error) {
	var vmid id.VM
	if req.VMID != nil {
		vmid = *req.VMID
	}
	return nothing{}, s.Volumes.Rescan(ctx, vmid, is(req.DryRun))
}

type fsckRequest struct {
	local
	Device *pointKey `pve:"device" doc:"Mount point to check; the root without one."`
	Force  *bool     `pve:"force" doc:"Check one that seems clean too." default:"0"`
}

func (s *Service) fsck(ctx context.Context, req fsckRequest) (nothing, error) {
	key := pointKey(container.Root)
	if req.Device != nil {
		key = *req.Device
	}
	return nothing{}, s.Volumes.Check(ctx, req.VMID, string(key), is(req.Force))
}

type fstrimRequest struct {
	local
	Ignore *bool `pve:"ignore-mountpoints" doc:"Leave all out but the root."`
}

func (s *Service) fstrim(ctx context.Context, req fstrimRequest) (nothing, error) {
	return nothing{}, s.Volumes.Trim(ctx, req.VMID, is(req.Ignore))
}

func (s *Service) df(ctx context.Context, req local) (nothing, error) {
	g, err := s.CTs.Cluster.Find(ctx, req.VMID)
	if errors.Is(err, cluster.ErrNoGuest) || err == nil && g.Kind != cluster.Container {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "%s doesn't exist\n", req.VMID)
	}
	usage, err := s.Volumes.Usage(ctx, req.VMID)
	if err == nil {
		volumes.PrintUsage(ctx, usage)
	}
	return nothing{}, err
}
