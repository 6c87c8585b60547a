package tree

import "context"

// CheckUnused returns a [storage.ErrInUse] for a base that has clones.
func (t *Tree) CheckUnused(ctx context.Context, name string) error {
	n, path, err := t.find(name)
	if err != nil || !n.IsBase || !taken(ctx, path) {
		return err
	}
	return t.unused(ctx, n, name, path)
}
