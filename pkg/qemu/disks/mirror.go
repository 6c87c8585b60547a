package disks

import (
	"context"
	"errors"

	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) mirror(ctx context.Context, src Source, to Target, made id.Volume) error {
	return errors.New("x")
}
