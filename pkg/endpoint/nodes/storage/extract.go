package storage

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/backup"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) extractMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "extractconfig", Doc: "Show the configuration that a backup holds.", ReadOnly: true}, s.extract),
	}
}

type extractRequest struct {
	Volume string `pve:"volume" doc:"The backup."`
}

func (s *Service) extract(ctx context.Context, req extractRequest) (nothing, error) {
	v, err := id.ParseVolume(req.Volume)
	if err != nil {
		return nothing{}, err
	}
	config, err := backup.Config(ctx, s.Storage, s.Run, v)
	if err != nil {
		return nothing{}, err
	}
	api.Printf(ctx, "%s\n", config)
	return nothing{}, nil
}
