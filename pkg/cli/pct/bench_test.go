package pct

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// BenchmarkStart starts and stops a container with pct, and in turns the same one with LXC's own
// programs and nothing of ours around it: no hooks, its root a plain folder.
func BenchmarkStart(b *testing.B) {
	testct.Require(b)
	root, id := testct.Root(b), strconv.Itoa(testct.ID(b))
	name := "subvol-" + id + "-disk-0.subvol"
	volume := root + "/var/lib/vz/images/" + id + "/" + name
	testct.Rootfs(b, volume, 100000)
	conf := "arch: amd64\nmemory: 64\nostype: alpine\nrootfs: local:" + id + "/" + name + ",size=0T\nswap: 0\nunprivileged: 1\n"
	if err := os.WriteFile(root+"/etc/pve/nodes/"+testct.Node+"/lxc/"+id+".conf", []byte(conf), 0o640); err != nil {
		b.Fatal(err)
	}
	pct := program(b)
	env := append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE="+testct.Node, "LC_ALL=C")
	timed := func(name string, args ...string) float64 {
		cmd := exec.CommandContext(b.Context(), name, args...)
		cmd.Env = env
		begun := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
		return float64(time.Since(begun).Microseconds()) / 1000
	}
	timed(pct, "start", id) // writes the configuration that LXC reads
	timed(pct, "stop", id)
	lxcpath := root + "/var/lib/lxc"
	text, err := os.ReadFile(lxcpath + "/" + id + "/config")
	if err != nil {
		b.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^lxc\.hook\..*\n`).ReplaceAll(text, nil)
	text = regexp.MustCompile(`(?m)^lxc\.rootfs\.path.*$`).ReplaceAll(text, []byte("lxc.rootfs.path = dir:"+volume))
	bare := root + "/bare"
	if err := os.WriteFile(bare, text, 0o600); err != nil {
		b.Fatal(err)
	}
	var start, stop, bareStart, bareStop float64
	for b.Loop() {
		start += timed(pct, "start", id)
		stop += timed(pct, "stop", id)
		bareStart += timed("lxc-start", "-d", "-n", id, "-P", lxcpath, "-f", bare)
		bareStop += timed("lxc-stop", "-k", "-n", id, "-P", lxcpath)
	}
	n := float64(b.N)
	b.ReportMetric(start/n, "ms/start")
	b.ReportMetric(bareStart/n, "ms/bare-start")
	b.ReportMetric((start-bareStart)/n, "ms/start-overhead")
	b.ReportMetric(stop/n, "ms/stop")
	b.ReportMetric(bareStop/n, "ms/bare-stop")
	b.ReportMetric((stop-bareStop)/n, "ms/stop-overhead")
}
