//go:build liblxc && cgo

package liblxc

import golxc "github.com/lxc/go-lxc"

// Linked tells whether the library is there.
const Linked = true

func open(path, name string) (handle, error) {
	c, err := golxc.NewContainer(name, path)
	if err != nil {
		return nil, err
	}
	return container{c}, nil
}

// container is what differs from the library's own.
type container struct{ *golxc.Container }

func (c container) State() string { return c.Container.State().String() }

// Shutdown does not wait, as nothing could stop it from waiting.
func (c container) Shutdown() error { return c.Container.Shutdown(0) }
