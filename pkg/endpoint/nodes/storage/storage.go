// Package storage has the methods below /nodes/{node}/storage and /nodes/{node}/scan, and
// the commands of pvesm that have no path.
package storage

import (
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Service serves the storages of a node.
type Service struct {
	Storage *storage.Service
	Node    id.Node
	Run     run.Runner
}

// Methods declares what s serves.
func (s *Service) Methods() []api.Method {
	var all []api.Method
	for _, group := range [][]api.Method{
		s.statusMethods(), s.contentMethods(), s.volumeMethods(), s.pruneMethods(), s.pathMethods(), s.transferMethods(), s.extractMethods(), s.scanMethods(),
	} {
		all = append(all, group...)
	}
	return all
}

// target names the storage that a method is about.
type target struct {
	Node    id.Node    `pve:"node"`
	Storage id.Storage `pve:"storage"`
}

// nothing is what a method returns that has no answer.
type nothing struct{}

// onStorage is the permission for something on a storage.
func onStorage(privileges ...string) api.Permissions {
	return api.Permissions{Check: api.AnyPerm("/storage/{storage}", privileges...)}
}

// look is the permission to look at a storage.
func look() api.Permissions { return onStorage("Datastore.Audit", "Datastore.AllocateSpace") }
