//go:build !liblxc || !cgo

package liblxc

// Linked tells whether the library is there.
const Linked = false

func open(string, string) (handle, error) { return nil, ErrNotBuilt }
