package purge

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func TestCron(t *testing.T) {
	const head = cronHead
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", head},
		{"several guests", head + "0 2 * * * root vzdump 100 101 --quiet 1\n", head + "0 2 * * * root vzdump 101 --quiet 1\n"},
		{"the last guest", head + "0 2 * * * root vzdump 100 --quiet 1\n", head},
		{"other guests", head + "0 2 * * * root vzdump 101 --storage local\n", head + "0 2 * * * root vzdump 101 --storage local\n"},
		{"all guests", head + "0 2 * * * root vzdump --all 1 --exclude 7\n", head + "0 2 * * * root vzdump --all 1 --exclude 7\n"},
		{"a value like the guest", head + "0 2 * * * root vzdump 101 --bwlimit 100\n", head + "0 2 * * * root vzdump 101 --bwlimit 100\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, purgeCron(c.text, "100")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// node returns a node of a cluster with some files.
func node(t *testing.T, files map[string]string) *cluster.Client {
	t.Helper()
	c := cluster.New(t.TempDir(), "pve1")
	if err := c.Init(); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := c.WriteFile(t.Context(), name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestJobs(t *testing.T) {
	files := map[string]string{
		cluster.JobsFile: "vzdump: one\n\tschedule 02:00\n\tvmid 100\n\nvzdump: two\n\tvmid 100,101\n\tnotes x y\n\nvzdump: all\n\texclude 100\n\tall 1\n\n" +
			"other: three\n\tvmid 100\n\n",
		cluster.ReplicationFile: "local: 100-0\n\ttarget pve2\n\nlocal: 1001-0\n\ttarget pve2\n\n",
		cluster.HAResourceFile:  "vm: 101\n\tstate started\n\nct: 100\n\tstate stopped\n\n",
		cluster.HARulesFile:     "node-affinity: a\n\tresources ct:100\n\tnodes pve1\n\nnode-affinity: b\n\tresources vm:101,ct:100\n\tnodes pve1\n\n",
	}
	c := node(t, files)
	if err := Jobs(t.Context(), c, Guest{cluster.Container, 100}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		cluster.JobsFile:        "vzdump: two\n\tnotes x y\n\tvmid 101\n\nvzdump: all\n\tall 1\n\nother: three\n\tvmid 100\n\n",
		cluster.ReplicationFile: "local: 1001-0\n\ttarget pve2\n\n",
		cluster.HAResourceFile:  "vm: 101\n\tstate started\n\n",
		cluster.HARulesFile:     "node-affinity: b\n\tnodes pve1\n\tresources vm:101\n\n",
	}
	for name, text := range want {
		got, err := c.ReadFile(t.Context(), name)
		if diff := cmp.Diff(text, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, want string
		files      map[string]string
		kind       cluster.Kind
	}{
		{"nothing", "", nil, cluster.VM},
		{"resource", "unable to remove CT 100 - used in HA resources and purge parameter not set.", map[string]string{cluster.HAResourceFile: "ct: 100\n\n"}, cluster.Container},
		{"resource of the other kind", "", map[string]string{cluster.HAResourceFile: "ct: 100\n\n"}, cluster.VM},
		{"replicated", "There is a replication job '100-1' for guest '100' - Please remove that first.", map[string]string{cluster.ReplicationFile: "local: 100-1\n\ttarget b\n\n"}, cluster.VM},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := Check(t.Context(), node(t, c.files), Guest{c.kind, id.VM(100)}); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
