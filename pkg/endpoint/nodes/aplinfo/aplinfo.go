// Package aplinfo has the methods at /nodes/{node}/aplinfo, and the commands of pveam that
// have no path.
package aplinfo

import (
	"context"
	"errors"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/appliance"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Service serves the container templates of a node.
type Service struct {
	Appliances *appliance.Service
}

const path = "/nodes/{node}/aplinfo"

// Methods declares what s serves. Methods without a path have upstream's names with the tool
// before them, as the plain ones would not be unique.
func (s *Service) Methods() []api.Method {
	onStorage := api.Permissions{Check: api.Perm("/storage/{storage}", "Datastore.AllocateTemplate")}
	return []api.Method{
		api.New(api.Method{
			Name: "aplinfo", Verb: "GET", Path: path, Doc: "List the templates that can be downloaded.",
			ProxyTo: "node", Permissions: api.Permissions{User: "all"},
		}, s.list),
		api.NewTask(api.Method{
			Name: "apl_download", Verb: "POST", Path: path, Doc: "Download a template to a storage.",
			ProxyTo: "node", Protected: true, Permissions: onStorage,
		}, s.prepareDownload, s.download),
		api.New(api.Method{Name: "pveam_update", Doc: "Download the lists of templates that servers offer."}, s.update),
		api.New(api.Method{Name: "pveam_available", Doc: "List the templates that can be downloaded.", ReadOnly: true}, s.available),
		api.New(api.Method{
			Name: "pveam_index", Doc: "List the templates that are on a storage.", ReadOnly: true,
			ProxyTo: "node", Protected: true, Permissions: onStorage,
		}, s.onStorage),
		api.New(api.Method{
			Name: "pveam_remove", Doc: "Remove a template from its storage.",
			ProxyTo: "node", Protected: true, Permissions: onStorage,
		}, s.remove),
	}
}

// nothing is what a method takes or returns that has no more to say.
type nothing struct{}

type listRequest struct {
	Node id.Node `pve:"node"`
}

func (s *Service) list(ctx context.Context, _ listRequest) ([]offered, error) {
	return s.available(ctx, availableRequest{})
}

type downloadRequest struct {
	Node     id.Node    `pve:"node"`
	Storage  id.Storage `pve:"storage" doc:"Storage that gets the template."`
	Template string     `pve:"template" maxlen:"255" doc:"Name of the template, as pveam available shows it."`
}

func (s *Service) prepareDownload(ctx context.Context, req downloadRequest) (api.Job, error) {
	err := s.Appliances.Check(ctx, req.Storage, req.Template)
	if errors.Is(err, appliance.ErrUnknown) {
		err = api.BadParam("template", "%v", err)
	}
	return api.Job{Type: "download", ID: req.Template}, err
}

func (s *Service) download(ctx context.Context, req downloadRequest) error {
	return s.Appliances.Download(ctx, req.Storage, req.Template)
}

func (s *Service) update(ctx context.Context, _ struct{}) (nothing, error) {
	err := s.Appliances.Update(ctx)
	if err == nil && plan.From(ctx) == nil {
		api.Printf(ctx, "update successful\n")
	}
	return nothing{}, err
}

type availableRequest struct {
	Section *string `pve:"section" enum:"system|mail|turnkeylinux" doc:"Only templates of this section."`
}

// An offered template is one that can be downloaded, with the fields that its list has.
type offered struct {
	Architecture *string `pve:"architecture"`
	Certified    *string `pve:"certified"`
	Description  *string `pve:"description"`
	Headline     *string `pve:"headline"`
	Infopage     string  `pve:"infopage"`
	Location     string  `pve:"location"`
	Maintainer   *string `pve:"maintainer"`
	ManageURL    *string `pve:"manageurl"`
	MD5          *string `pve:"md5sum"`
	OS           string  `pve:"os"`
	Package      string  `pve:"package"`
	Section      string  `pve:"section"`
	SHA512       *string `pve:"sha512sum"`
	Source       string  `pve:"source"`
	Template     string  `pve:"template"`
	Type         string  `pve:"type"`
	Version      string  `pve:"version"`
}

func describe(t appliance.Template) offered {
	one := offered{
		Infopage: t.Infopage, Location: t.Location, OS: t.OS, Package: t.Package, Section: t.Section, Source: t.Source,
		Template: t.Template, Type: t.Type, Version: t.Version,
	}
	for _, f := range []struct {
		to   **string
		text string
	}{
		{&one.Architecture, t.Architecture},
		{&one.Certified, t.Certified},
		{&one.Description, t.Description},
		{&one.Headline, t.Headline},
		{&one.Maintainer, t.Maintainer},
		{&one.ManageURL, t.ManageURL},
		{&one.MD5, t.MD5},
		{&one.SHA512, t.SHA512},
	} {
		if f.text != "" {
			*f.to = &f.text
		}
	}
	return one
}

func (s *Service) available(ctx context.Context, req availableRequest) ([]offered, error) {
	all, err := s.Appliances.Available(ctx)
	found := []offered{}
	for _, t := range all {
		if req.Section == nil || t.Section == *req.Section {
			found = append(found, describe(t))
		}
	}
	return found, err
}

type indexRequest struct {
	Node    id.Node    `pve:"node"`
	Storage id.Storage `pve:"storage" doc:"Storage whose templates are listed."`
}

// A stored template is a line of the list of a storage.
type stored struct {
	Content string `pve:"content"`
	Created *int64 `pve:"ctime"`
	Format  string `pve:"format"`
	Size    int64  `pve:"size" renderer:"bytes"`
	Volume  string `pve:"volid"`
}

func (s *Service) onStorage(ctx context.Context, req indexRequest) ([]stored, error) {
	all, err := s.Appliances.List(ctx, req.Storage)
	found := make([]stored, 0, len(all))
	for _, v := range all {
		one := stored{Content: string(v.Content), Format: v.Format, Size: v.Size, Volume: string(req.Storage) + ":" + v.Name}
		if !v.Created.IsZero() {
			one.Created = new(v.Created.Unix())
		}
		found = append(found, one)
	}
	return found, err
}

type removeRequest struct {
	Node     id.Node `pve:"node"`
	Template string  `pve:"template_path" maxlen:"255" doc:"The template, as pveam list shows it."`
}

func (s *Service) remove(ctx context.Context, req removeRequest) (nothing, error) {
	return nothing{}, s.Appliances.Remove(ctx, req.Template)
}
