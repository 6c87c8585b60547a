package volgroup

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// CheckExport fails where a volume cannot be written as a stream.
func CheckExport(env storage.Env, s storage.Stream) error {
	return storage.CheckRawExport(env.Type, fmt.Sprintf("from storages of type '%s'", env.Type), s)
}

// ImportFormats returns the formats from which a volume can be made.
func ImportFormats(p storage.Pool, env storage.Env, name string, s storage.Stream) []string {
	s.Format = "raw+size"
	if storage.CheckRawStream(p, env.Type, name, s) != nil {
		return nil
	}
	return []string{s.Format}
}

// Taken tells in upstream's words that a name is taken; an empty text says that it is free.
func (g *Group) Taken(ctx context.Context, name string) (string, error) {
	all, err := g.All(ctx)
	if err != nil || !g.taken(ctx, all, name) {
		return "", err
	}
	return fmt.Sprintf("volume %s/%s already exists", g.VG, name), nil
}
