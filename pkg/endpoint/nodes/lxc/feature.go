package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func (s *Service) featureMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "vm_feature", Verb: "GET", Path: "/nodes/{node}/lxc/{vmid}/feature",
			Doc: "Tell whether the volumes of a container can do something.", ProxyTo: "node", Protected: true, Permissions: auditCT(),
		}, s.feature),
	}
}

// volumeFeature is what is asked for.
type volumeFeature string

// Describe implements schema.Describer.
func (volumeFeature) Describe(s *schema.Schema) {
	s.Enum = []string{string(storage.FeatureSnapshot), string(storage.FeatureClone), string(storage.FeatureCopy)}
}

type featureRequest struct {
	target
	Feature volumeFeature `pve:"feature" doc:"What they should be able to do."`
	Name    *id.Snapshot  `pve:"snapname" doc:"Ask for the state in this snapshot."`
}

type featureReply struct {
	HasFeature bool `pve:"hasFeature" doc:"All of them can."`
}

func (s *Service) feature(ctx context.Context, req featureRequest) (featureReply, error) {
	doc, err := s.CTs.Load(ctx, req.VMID)
	if err != nil {
		return featureReply{}, err
	}
	name := ""
	if req.Name != nil {
		name = string(*req.Name)
		if _, err := guest.Snapshot(doc, name); err != nil {
			return featureReply{}, err
		}
	}
	able, err := s.snapshotService().Able(ctx, storage.Feature(req.Feature), doc, name)
	return featureReply{able}, err
}
