package rbd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// BenchmarkStorage times a pool of a Ceph of one host, which keeps all in memory, beside rbd.
func BenchmarkStorage(b *testing.B) {
	needDriver(b)
	c := testceph.Start(b)
	rbd := func(args ...string) []string { return append([]string{"rbd", "-c", c.Conf}, args...) }
	remove := rbd("rm", "--no-progress", "beside")
	storagetest.Bench{
		Types:   []storage.Type{Type()},
		Config:  "rbd: it\n\t" + strings.Join(c.Section(), "\n\t") + "\n",
		Secrets: map[string]string{"keyring": c.Secret()},
		Alloc:   []storagetest.Beside{storagetest.Tool("rbd_create", rbd("create", "--size", "4", "beside"), remove...)},
		Clone: func(base id.Volume) []storagetest.Beside {
			return []storagetest.Beside{storagetest.Tool("rbd_clone", rbd("clone", testceph.Pool+"/"+base.Name+"@__base__", "beside"), remove...)}
		},
		Wipe: func(b *testing.B, clones []id.Volume) {
			var names []string
			for _, v := range clones {
				names = append(names, v.Name[strings.LastIndex(v.Name, "/")+1:])
			}
			python(b, c, "remove", names)
		},
		Copies: []string{"raw"},
		Copy: func(source, _ string) []storagetest.Beside {
			return []storagetest.Beside{
				storagetest.Tool("qemu-img_convert", []string{"qemu-img", "convert", "-f", "raw", "-O", "raw", source, "rbd:" + testceph.Pool + "/beside:conf=" + c.Conf}, remove...),
				storagetest.Tool("rbd_import", rbd("import", "--no-progress", source, "beside"), remove...),
			}
		},
		Fill: func(b *testing.B, from, to int) {
			if to > 1000 && os.Getenv("VIRTSMITH_TEST_ALL") == "" {
				b.Skip("rbd itself takes half a minute and more for each list of so many: set VIRTSMITH_TEST_ALL=1")
			}
			var names []string
			for i := from; i < to; i++ {
				names = append(names, fmt.Sprintf("vm-%d-disk-%d", 1000+i/10, i%10))
			}
			python(b, c, "create", names)
		},
		Lists: []int{1000, 10000},
		List:  []storagetest.Beside{storagetest.Tool("rbd_ls_-l", rbd("ls", "-l", "--format", "json"))},
	}.Run(b)
}

// quick makes or removes many images, faster than rbd could.
const quick = `
import sys, rados, rbd
from concurrent.futures import ThreadPoolExecutor
r = rbd.RBD()
with rados.Rados(conffile=sys.argv[1]) as cluster, cluster.open_ioctx(sys.argv[2]) as io:
    do = {'create': lambda n: r.create(io, n, 1 << 30, features=61), 'remove': lambda n: r.remove(io, n)}[sys.argv[3]]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(do, sys.stdin.read().split()))
`

func python(b *testing.B, c *testceph.Cluster, verb string, names []string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "/usr/bin/python3", "-c", quick, c.Conf, testceph.Pool, verb)
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		if exec.Command("/usr/bin/python3", "-c", "import rbd, rados").Run() != nil {
			b.Skip("needs python3-rbd, as rbd alone takes minutes for so many images")
		}
		b.Fatalf("%v: %s", err, out)
	}
}
