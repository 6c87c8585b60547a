package storage_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func TestConformanceBandwidthLimit(t *testing.T) {
	var suite struct {
		Common struct {
			Files  map[string]string
			Grants map[string]map[string][]string // user → path → privileges
		}
		Cases []struct {
			Name  string
			Input struct {
				User, Operation string
				Storages        []*id.Storage
				Override        *int
			}
			Expect struct{ Limit int }
		}
	}
	conformance.Load(t, "cluster/storage-bwlimit", &suite)
	s, _ := service(t, suite.Common.Files["storage.cfg"])
	datacenter := strings.TrimSpace(strings.TrimPrefix(suite.Common.Files["datacenter.cfg"], "bwlimit:"))
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			in := c.Input
			r := storage.Rates{
				Operation: in.Operation, Override: in.Override, Datacenter: datacenter,
				May: func(path, privilege string) bool {
					grants := suite.Common.Grants[in.User]
					for ; ; path = path[:strings.LastIndex(path, "/")] {
						if slices.Contains(grants[path], privilege) || path == "" && slices.Contains(grants["/"], privilege) {
							return true
						}
						if path == "" || path == "/" {
							return in.User == "root@pam"
						}
					}
				},
			}
			for _, storeid := range in.Storages {
				if storeid == nil {
					storeid = new(id.Storage)
				}
				r.Storages = append(r.Storages, *storeid)
			}
			got, err := s.BandwidthLimit(t.Context(), r)
			if got != c.Expect.Limit || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, c.Expect.Limit)
			}
		})
	}
}
