package hotplug

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// kernel stands for the control group of one container, and refuses what the kernel
// would.
type kernel struct {
	files  map[string]string
	writes []string
	needs  uint64 // bytes that cannot be taken back
	broken string // a file that cannot be written
}

func (k *kernel) Read(file string) (string, error) { return k.files[file], nil }

func (k *kernel) Write(file, value string) error {
	n, _ := strconv.ParseUint(value, 10, 64)
	both, _ := strconv.ParseUint(k.files[limitAll], 10, 64)
	one, _ := strconv.ParseUint(k.files[limit1], 10, 64)
	switch {
	case file == k.broken:
		return syscall.EIO
	case file == limit1 && both != 0 && n > both, file == limitAll && n < one:
		return syscall.EINVAL
	case (file == limit1 || file == limitAll) && n < k.needs:
		return syscall.EBUSY
	case file == high2 && n > k.needs:
		k.files[current2] = value
	case file == high2:
		k.files[current2] = strconv.FormatUint(k.needs, 10)
	case file == max2 && value != "max" && n < k.needs:
		return errors.New("the kernel kills")
	}
	k.files[file] = value
	k.writes = append(k.writes, file+"="+value)
	return nil
}

func mib(n int) string { return strconv.Itoa(n << 20) }

func TestLimits(t *testing.T) {
	v1 := map[string]string{
		limit1: mib(512), limitAll: mib(768), usage1: mib(100),
		"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "-1", "cpu.shares": "1024",
	}
	v2 := map[string]string{
		max2: mib(512), high2: mib(508), swap2: mib(256), current2: mib(400), "cpu.max": "max 100000", "cpu.weight": "100",
	}
	plain := map[string]string{limit1: mib(512), usage1: mib(100)} // a kernel that does not count swap
	values := schema.Params{"memory": "512", "swap": "256", "cpulimit": "1"}
	tests := []struct {
		name    string
		files   map[string]string
		pending schema.Params
		broken  string
		needs   int
		writes  string
		fault   string
		left    schema.Params // what stays pending
	}{
		{name: "1 grow", files: v1, pending: schema.Params{"memory": "1024"}, writes: limitAll + "=1280 " + limit1 + "=1024"},
		{name: "1 shrink", files: v1, pending: schema.Params{"memory": "128"}, writes: limit1 + "=128 " + limitAll + "=384"},
		{name: "1 more memory, less swap", files: v1, pending: schema.Params{"memory": "600", "swap": "0"}, writes: limit1 + "=600 " + limitAll + "=600"},
		{name: "1 less memory, more swap", files: v1, pending: schema.Params{"memory": "100", "swap": "2000"}, writes: limitAll + "=2100 " + limit1 + "=100"},
		{name: "1 no swap", files: v1, pending: schema.Params{"delete": "swap"}, writes: limit1 + "=512 " + limitAll + "=512"},
		{name: "1 without swap limit", files: plain, pending: schema.Params{"memory": "128", "swap": "1"}, writes: limit1 + "=128"},
		{
			name: "1 too small", files: v1, pending: schema.Params{"memory": "64"}, needs: 100,
			fault: "unable to hotplug memory: the container uses 100 MiB of memory and cannot be limited to 64 MiB: device or resource busy", left: schema.Params{"memory": "64"},
		},
		{
			name: "1 second fails", files: v1, pending: schema.Params{"memory": "1024"}, broken: limit1,
			writes: limitAll + "=1280 " + limitAll + "=768", fault: "unable to hotplug memory: input/output error", left: schema.Params{"memory": "1024"},
		},
		{name: "2 grow", files: v2, pending: schema.Params{"memory": "1024", "swap": "512"}, writes: max2 + "=1024 " + high2 + "=1016 " + swap2 + "=512"},
		{name: "2 large", files: v2, pending: schema.Params{"memory": "32768"}, writes: max2 + "=32768 " + high2 + "=32640 " + swap2 + "=256"},
		{name: "2 shrink", files: v2, pending: schema.Params{"memory": "256"}, needs: 100, writes: high2 + "=254 " + swap2 + "=256 " + max2 + "=256"},
		{name: "2 no swap", files: v2, pending: schema.Params{"delete": "swap"}, writes: max2 + "=512 " + high2 + "=508 " + swap2 + "=0"},
		{
			name: "2 too small", files: v2, pending: schema.Params{"memory": "64"}, needs: 400, writes: high2 + "=63 " + high2 + "=508",
			fault: "unable to hotplug memory: the container uses 400 MiB of memory and cannot be limited to 64 MiB: its processes need it", left: schema.Params{"memory": "64"},
		},
		{
			name: "2 cannot set", files: v2, pending: schema.Params{"memory": "256"}, needs: 100, broken: max2, writes: high2 + "=254 " + swap2 + "=256 " + swap2 + "=256 " + high2 + "=508",
			fault: "unable to hotplug memory: input/output error", left: schema.Params{"memory": "256"},
		},
		{name: "1 cpulimit", files: v1, pending: schema.Params{"cpulimit": "0.5"}, writes: "cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000"},
		{name: "1 no cpulimit", files: v1, pending: schema.Params{"delete": "cpulimit"}, writes: "cpu.cfs_period_us=100000 cpu.cfs_quota_us=-1"},
		{name: "2 cpulimit", files: v2, pending: schema.Params{"cpulimit": "1.5"}, writes: "cpu.max=150000 100000"},
		{name: "2 cpulimit of 0", files: v2, pending: schema.Params{"cpulimit": "0"}, writes: "cpu.max=max 100000"},
		{name: "1 cpuunits", files: v1, pending: schema.Params{"cpuunits": "200"}, writes: "cpu.shares=200"},
		{name: "2 cpuunits", files: v2, pending: schema.Params{"cpuunits": "500000"}, writes: "cpu.weight=10000"},
		{
			name: "wait for a restart", files: v1, pending: schema.Params{"nameserver": "1.1.1.1", "tty": "3", "features": "nesting=1", "timezone": "host"},
			left: schema.Params{"nameserver": "1.1.1.1", "tty": "3", "features": "nesting=1", "timezone": "host"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := &kernel{files: map[string]string{}, broken: tt.broken, needs: uint64(tt.needs) << 20}
			for file, text := range tt.files {
				k.files[file] = text
			}
			doc := &config.Doc{Values: schema.Params{}, Pending: schema.Params{}}
			for key, value := range values {
				doc.Values[key] = value
			}
			keys := map[string]bool{}
			for key, value := range tt.pending {
				doc.Pending[key] = value
				keys[key] = true
			}
			m := &machine{Service: &Service{}, vmid: 100, doc: doc, limits: k}
			for key := range keys {
				if key == "delete" {
					key = tt.pending[key]
				}
				m.keys = append(m.keys, key)
			}
			_, both := tt.files[limitAll]
			m.kernel = lxcconf.Machine{Kernel: lxc.Kernel{Unified: tt.files[max2] != ""}, SwapLimit: both}
			faults := m.plug(t.Context(), guest.PendingDeletes(doc))
			var writes []string
			for _, w := range k.writes {
				file, value, _ := strings.Cut(w, "=")
				if n, err := strconv.Atoi(value); err == nil && strings.HasPrefix(file, "memory.") {
					value = strconv.Itoa(n >> 20)
				}
				writes = append(writes, file+"="+value)
			}
			if diff := cmp.Diff(tt.writes, strings.Join(writes, " ")); diff != "" {
				t.Error(diff)
			}
			fault := ""
			for _, text := range faults {
				fault += text
			}
			if fault != tt.fault {
				t.Errorf("fault %q, want %q", fault, tt.fault)
			}
			if tt.left == nil {
				tt.left = schema.Params{}
			}
			if diff := cmp.Diff(tt.left, doc.Pending); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBind(t *testing.T) {
	for _, tt := range []struct {
		name, top, ns, inner string
		cpus                 []int
		want                 string
	}{
		{"narrower", "0-3", "0-3", "0-1", []int{2}, "2 2 2"},
		{"wider", "0", "0", "0", []int{0, 1, 2}, "0-2 0-2 0-2"},
		{"other", "0-1", "0-1", "1", []int{2, 3}, "2-3 2-3 2-3"},
		{"all", "1", "1", "1", nil, "0-3 0-3 0-3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			groups := []string{parent, parent + "/100", parent + "/100/ns", parent + "/100/ns/inner"}
			for i, cpus := range []string{"0-3", tt.top, tt.ns, tt.inner} {
				if err := os.MkdirAll(groups[i], 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(groups[i], cpusFile), []byte(cpus+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := bind(parent+"/100", tt.cpus); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, group := range groups[1:] {
				text, err := os.ReadFile(filepath.Join(group, cpusFile))
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, strings.TrimSpace(string(text)))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := bind(t.TempDir()+"/100", []int{0}); err != nil {
		t.Errorf("a container that has just ended: %v", err)
	}
}

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct{ ip, gateway, want string }{
		{"", "", "invalid Prefix invalid IP false"},
		{"dhcp", "", "invalid Prefix invalid IP false"},
		{"10.0.0.2/24", "10.0.0.1", "10.0.0.2/24 10.0.0.1 false"},
		{"10.0.0.2/32", "192.0.2.1", "10.0.0.2/32 192.0.2.1 true"},
		{"fd00::2/64", "fe80::1", "fd00::2/64 fe80::1 false"},
		{"10.0.0.2", "", "unable to parse address '10.0.0.2'"},
		{"10.0.0.2/8", "x", "unable to parse gateway 'x'"},
	} {
		a, err := parseAddress(&tt.ip, &tt.gateway)
		got := fmt.Sprint(a.prefix, a.gateway, a.gateway.IsValid() && a.direct())
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.ip, tt.gateway, got, tt.want)
		}
	}
}

func TestGroups(t *testing.T) {
	v1 := "12:devices:/lxc/100/ns/init.scope\n4:cpuset:/lxc/100/ns\n3:cpu,cpuacct:/box/lxc/100/ns\n2:memory:/lxc/1001/ns\n0::/\n"
	v2 := "1:name=systemd:/lxc/7\n0::/box/lxc/100/ns/system.slice/cron.service\n"
	for _, tt := range []struct{ name, paths, file, want string }{
		{"1", v1, "cpuset.cpus", "/cg/cpuset/lxc/100/cpuset.cpus"},
		{"1, below", v1, "devices.allow", "/cg/devices/lxc/100/devices.allow"},
		{"1, in a box", v1, "cpu.shares", "/cg/cpu/box/lxc/100/cpu.shares"},
		{"1, of another", v1, "memory.limit_in_bytes", "container 100 has no control group of its own for memory"},
		{"1, none", v1, "pids.max", "container 100 has no control group of its own for pids"},
		{"2", v2, "memory.max", "/cg/box/lxc/100/memory.max"},
	} {
		got, err := groups{root: "/cg", paths: tt.paths, name: "100", unified: tt.paths == v2}.file(tt.file)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
