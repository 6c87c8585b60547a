package storage

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func (s *Service) contentMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "index", Verb: "GET", Path: "/nodes/{node}/storage/{storage}/content",
			Doc: "List the volumes of a storage.", ProxyTo: "node", Protected: true, Permissions: look(),
		}, s.list),
		api.New(api.Method{
			Name: "create", Verb: "POST", Path: "/nodes/{node}/storage/{storage}/content",
			Doc: "Make a volume.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.Perm("/storage/{storage}", "Datastore.AllocateSpace")},
		}, s.alloc),
	}
}

type listRequest struct {
	target
	Content *string `pve:"content" format:"pve-storage-content" doc:"Only volumes of this kind."`
	VMID    *id.VM  `pve:"vmid" doc:"Only volumes of this guest."`
}

// A volume is a line of a list.
type volume struct {
	Content   string  `pve:"content"`
	Created   *int64  `pve:"ctime" min:"0"`
	Format    string  `pve:"format"`
	Notes     *string `pve:"notes"`
	Parent    *string `pve:"parent"`
	Protected *bool   `pve:"protected"`
	Size      *int64  `pve:"size" renderer:"bytes"`
	Subtype   *string `pve:"subtype"`
	Used      *int64  `pve:"used" renderer:"bytes"`
	VMID      *int64  `pve:"vmid"`
	Volume    string  `pve:"volid"`
}

func (s *Service) list(ctx context.Context, req listRequest) ([]volume, error) {
	filter := storage.Filter{}
	if req.VMID != nil {
		filter.Guest = *req.VMID
	}
	d, err := s.Storage.Lookup(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	filter.Content = d.Content
	if req.Content != nil {
		filter.Content = slices.DeleteFunc(slices.Clone(d.Content), func(c storage.Content) bool { return string(c) != *req.Content })
	}
	found, err := s.Storage.List(ctx, req.Storage, filter)
	if err != nil {
		return nil, err
	}
	all := make([]volume, 0, len(found))
	for _, v := range found {
		all = append(all, describe(req.Storage, v))
	}
	slices.SortFunc(all, func(a, b volume) int { return cmp.Compare(a.Volume, b.Volume) })
	return all, nil
}

func describe(storeid id.Storage, v storage.Volume) volume {
	one := volume{Content: string(v.Content), Format: v.Format, Volume: string(storeid) + ":" + v.Name, Size: &v.Size}
	if v.Used != 0 {
		one.Used = &v.Used
	}
	if !v.Created.IsZero() {
		one.Created = new(v.Created.Unix())
	}
	if v.Guest != 0 {
		one.VMID = new(int64(v.Guest))
	}
	if v.Protected {
		one.Protected = &v.Protected
	}
	for text, field := range map[string]**string{v.Notes: &one.Notes, v.Parent: &one.Parent, v.Subtype: &one.Subtype} {
		if text != "" {
			*field = &text
		}
	}
	return one
}

type allocRequest struct {
	target
	Filename string  `pve:"filename" doc:"Name of the volume; empty for a free one."`
	Format   *string `pve:"format" enum:"raw|qcow2|subvol|vmdk" requires:"size" doc:"Format of the volume."`
	Size     string  `pve:"size" pattern:"\\d+[MG]?" doc:"Size in KiB, or with M or G behind it in MiB or GiB."`
	VMID     id.VM   `pve:"vmid"`
}

// imageExt is the end of a name that tells a format.
var imageExt = pattern.New(`\.(raw|qcow2|vmdk)$`)

func (s *Service) alloc(ctx context.Context, req allocRequest) (string, error) {
	format := ""
	if req.Format != nil {
		format = *req.Format
	}
	if m := imageExt.FindStringSubmatch(req.Filename); m != nil {
		if format != "" && format != m[1] {
			return "", api.BadParam("format", "different storage formats (%s != %s)", format, m[1])
		}
		format = m[1]
	}
	kib, err := sizeOf(req.Size)
	if err != nil {
		return "", err
	}
	v, err := s.Storage.Alloc(ctx, req.Storage, storage.Alloc{Guest: req.VMID, Format: format, File: req.Filename, Size: kib})
	if err != nil {
		return "", err
	}
	return v.String(), nil
}

// sizeOf reads a size that the pattern of the parameter lets through, in KiB.
func sizeOf(text string) (int64, error) {
	digits := strings.TrimRight(text, "MG")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := map[string]int64{"": 1, "M": 1 << 10, "G": 1 << 20}[text[len(digits):]]
	if err != nil || n > (1<<53)/unit {
		return 0, api.BadParam("size", "%s is more than any volume can have", text)
	}
	return n * unit, nil
}
