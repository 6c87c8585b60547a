package aplinfo_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/appliance"
	"github.com/virtsmith/virtsmith/pkg/appliance/appliancetest"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/aplinfo"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	storagetypes "github.com/virtsmith/virtsmith/pkg/storage/all"
)

const path = " /nodes/{node}/aplinfo"

// served returns the methods of a node that has a list, and what tasks they start.
func served(t *testing.T) (api.Local, *[]api.Job) {
	t.Helper()
	root := t.TempDir()
	name := filepath.Join(root, "var/lib/pve-manager/apl-info/download.proxmox.com")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(appliancetest.Paragraph("debian-12-standard", "system", "system/debian-12-standard_12.1-1_amd64.tar.zst", nil)), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &aplinfo.Service{Appliances: &appliance.Service{Root: root, Storage: storage.New(storage.Options{
		Root: root, Node: "pve1", Types: storagetypes.Types(), Config: func(context.Context) (string, error) { return "", nil },
	})}}
	var jobs []api.Job
	return api.Local{Methods: s.Methods(), Start: func(_ context.Context, _ *api.Method, j api.Job, _ schema.Params) (string, error) {
		jobs = append(jobs, j)
		return "UPID", nil
	}}, &jobs
}

func TestList(t *testing.T) {
	local, _ := served(t)
	result, err := local.Call(t.Context(), "GET"+path, schema.Params{"node": "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	list, _ := schema.Value(result).([]any)
	if len(list) != 1 {
		t.Fatalf("%v", result)
	}
	one, _ := list[0].(map[string]any)
	sum := one["sha512sum"]
	delete(one, "sha512sum")
	if diff := cmp.Diff(map[string]any{
		"package": "debian-12-standard", "version": "1.0-1", "type": "lxc", "os": "debian-12", "section": "system",
		"headline": "A template for tests", "description": "It has nothing in it.", "maintainer": "Nobody <nobody@example.org>",
		"architecture": "amd64", "infopage": "https://example.org/debian-12-standard", "source": "http://download.proxmox.com/images",
		"location": "http://download.proxmox.com/images/system/debian-12-standard_12.1-1_amd64.tar.zst",
		"template": "debian-12-standard_12.1-1_amd64.tar.zst",
	}, one); diff != "" || sum == nil {
		t.Error(diff)
	}
}

func TestDownload(t *testing.T) {
	local, jobs := served(t)
	upid, err := local.Call(t.Context(), "POST"+path, schema.Params{"node": "pve1", "storage": "local", "template": "debian-12-standard_12.1-1_amd64.tar.zst"})
	if diff := cmp.Diff([]api.Job{{Type: "download", ID: "debian-12-standard_12.1-1_amd64.tar.zst"}}, *jobs); diff != "" || err != nil || upid != "UPID" {
		t.Error(upid, err, diff)
	}
	_, err = local.Call(t.Context(), "POST"+path, schema.Params{"node": "pve1", "storage": "local", "template": "none.tar.gz"})
	e, ok := errors.AsType[*api.Error](err)
	if !ok || e.Status != http.StatusBadRequest || e.Params["template"] != "no such template" || len(*jobs) != 1 {
		t.Errorf("%v, %v", err, *jobs)
	}
}
