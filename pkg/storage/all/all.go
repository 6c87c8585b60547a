// Package all lists the types of storage there are.
package all

import (
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/iscsidirect"
)

// Types returns the types, for [storage.Options].
func Types() []storage.Type {
	return []storage.Type{btrfs.Type(), dir.Type(), iscsidirect.Type()}
}
