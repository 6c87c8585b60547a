package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

// TestListUnreadable: a file that cannot be read takes one VM's details, not the list.
func TestListUnreadable(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "etc/pve/nodes/pve1/qemu-server")
	if err := os.MkdirAll(filepath.Join(dir, "101.conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"100.conf": "name: a\n", "102.conf": "args: " + strings.Repeat("x", 1<<20) + "\n", "103.conf": "name: b\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &Service{VMs: &vm.Host{Root: root, Node: "pve1", Cluster: cluster.New(root, "pve1"), Dir: process.Below(root), Now: time.Now}}
	var warnings bytes.Buffer
	list, err := s.list(api.WithStreams(t.Context(), api.Streams{Err: &warnings}), listRequest{Node: "pve1"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range list {
		got = append(got, st.VMID.String()+" "+*st.Name)
	}
	if text := strings.Join(got, ", "); text != "100 a, 101 VM 101, 102 VM 102, 103 b" {
		t.Errorf("list: %s", text)
	}
	for _, want := range []string{"WARN: VM 101: ", "is a directory", "WARN: VM 102: ", "file is too large"} {
		if !strings.Contains(warnings.String(), want) {
			t.Errorf("%q is not among %q", want, warnings.String())
		}
	}
}
