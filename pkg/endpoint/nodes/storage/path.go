package storage

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) pathMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "path", Doc: "Show where a volume lies.", ReadOnly: true}, s.path),
		api.New(api.Method{Name: "apiinfo", Doc: "Show which version of the plugin interface upstream's storages of this kind have.", ReadOnly: true}, s.apiInfo),
	}
}

type pathRequest struct {
	Volume string `pve:"volume" format:"pve-volume-id" doc:"The volume."`
}

func (s *Service) path(ctx context.Context, req pathRequest) (nothing, error) {
	v, err := id.ParseVolume(req.Volume)
	if err != nil {
		return nothing{}, err
	}
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return nothing{}, err
	}
	api.Printf(ctx, "%s\n", path)
	return nothing{}, nil
}

// apiVersion is the version of the storage interface whose storage.cfg we read, and
// apiAge how many versions back plugins for it may be (pve-storage 9).
const (
	apiVersion = 15
	apiAge     = 6
)

type versions struct {
	Age     int64 `pve:"apiage"`
	Version int64 `pve:"apiver"`
}

func (s *Service) apiInfo(context.Context, struct{}) (versions, error) {
	return versions{Age: apiAge, Version: apiVersion}, nil
}
