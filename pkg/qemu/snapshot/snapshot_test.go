package snapshot_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/app"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/snapshot"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

const (
	storages = "dir: local\n\tpath /nowhere\n\tcontent images,iso\n\ndir: nfs\n\tpath /nowhere\n\tcontent images\n\tshared 1\n\ndir: far\n\tpath /nowhere\n\tcontent images\n\tnodes pve2,pve3\n\tshared 1\n"
	guests   = `memory: 64
parent: s1
scsi0: local:100/vm-100-disk-0.qcow2,size=1G
ide2: local:iso/x.iso,media=cdrom

[s1]
#old note
memory: 64
scsi0: local:100/vm-100-disk-0.qcow2,size=1G
scsi1: local:100/vm-100-disk-1.raw,size=1G
snaptime: 1700000000
`
)

// world returns a node with VM 100, which nothing is ever run for.
func world(t *testing.T) *app.App {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"storage.cfg":                     storages,
		"nodes/pve1/qemu-server/100.conf": guests,
		"nodes/pve2/qemu-server/200.conf": "memory: 64\n",
	} {
		path := filepath.Join(root, "etc/pve", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return app.New(app.Host{Root: root, Node: "pve1", Exe: "/bin/false"})
}

func TestAble(t *testing.T) {
	a := world(t)
	s := &snapshot.Service{Host: a.VMs, Power: a.Power}
	doc, err := s.Load(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		feature storage.Feature
		snap    string
		want    bool
		fault   string
	}{
		{name: "a qcow2 image keeps snapshots", feature: storage.FeatureSnapshot, want: true},
		{name: "a raw one does not", feature: storage.FeatureSnapshot, snap: "s1"},
		{name: "all can be copied", feature: storage.FeatureCopy, want: true},
		{name: "no such snapshot", feature: storage.FeatureCopy, snap: "s2", fault: "snapshot 's2' does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Able(t.Context(), c.feature, doc, c.snap)
			if text := faultOf(err); text != c.fault || got != c.want {
				t.Errorf("got %t, %q", got, text)
			}
		})
	}
}

func faultOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestNodes(t *testing.T) {
	a := world(t)
	s := &snapshot.Service{Host: a.VMs, Power: a.Power}
	all := []id.Node{"pve1", "pve2", "pve3"}
	for _, c := range []struct {
		name   string
		values schema.Params
		want   []id.Node
	}{
		{"nothing", schema.Params{}, all},
		{"local", schema.Params{"scsi0": "local:100/a.qcow2"}, []id.Node{"pve1"}},
		{"shared", schema.Params{"scsi0": "nfs:100/a.qcow2"}, all},
		{"on some", schema.Params{"scsi0": "far:100/a.qcow2", "scsi1": "nfs:100/a.qcow2"}, []id.Node{"pve2", "pve3"}},
		{"nowhere together", schema.Params{"scsi0": "far:100/a.qcow2", "scsi1": "local:100/a.qcow2"}, []id.Node{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Nodes(t.Context(), c.values, all)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The methods that only look at a snapshot, or change its note.
func TestConfigOfSnapshot(t *testing.T) {
	a := world(t)
	caller := a.Caller(io.Discard)
	const path = "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config"
	at := func(more schema.Params) schema.Params {
		p := schema.Params{"node": "pve1", "vmid": "100", "snapname": "s1"}
		for key, value := range more {
			p[key] = value
		}
		return p
	}
	file := filepath.Join(a.Root, "etc/pve/nodes/pve1/qemu-server/100.conf")
	for _, c := range []struct {
		name  string
		more  schema.Params
		fault string
		has   string // the file has
		hasNo string
	}{
		{name: "a note", more: schema.Params{"description": "new note"}, has: "\n[s1]\n#new note\n", hasNo: "old note"},
		{name: "none", has: "\n[s1]\n#new note\n"},
		{name: "an empty one", more: schema.Params{"description": ""}, has: "\n[s1]\nmemory: 64\n", hasNo: "note"},
		{name: "of nothing", more: schema.Params{"snapname": "s2"}, fault: "snapshot 's2' does not exist", has: "[s1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := caller.Call(t.Context(), "PUT "+path, at(c.more))
			text, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if got := faultOf(err); got != c.fault || !strings.Contains(string(text), c.has) || c.hasNo != "" && strings.Contains(string(text), c.hasNo) {
				t.Errorf("%q, and the file is\n%s", got, text)
			}
		})
	}
	if _, err := caller.Call(t.Context(), "GET "+path, at(nil)); err != nil {
		t.Error(err)
	}
	if _, err := caller.Call(t.Context(), "GET /nodes/{node}/qemu/{vmid}/feature", schema.Params{"node": "pve1", "vmid": "100", "feature": "snapshot"}); err != nil {
		t.Error(err)
	}
}
