package hotplug_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/hotplug"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/setup/alpine"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// images are the volumes of the tests.
type images map[string]mount.Point

func (i images) MountPoint(_ context.Context, p container.Point, _ string) (mount.Point, error) {
	m, ok := i[p.Volume]
	if !ok {
		return m, fmt.Errorf("no such volume: %s", p.Volume)
	}
	m.Name, m.Target = p.Key, p.MP
	return m, nil
}

// box is a container that runs.
type box struct {
	*testing.T
	*hotplug.Service
	vmid   id.VM
	doc    *config.Doc
	output bytes.Buffer // what the user was told
}

// start starts one, without a network card.
func start(t *testing.T, volumes images) *box {
	t.Helper()
	testct.Require(t)
	b := &box{T: t, vmid: id.VM(testct.ID(t))}
	root := testct.Root(t)
	h := &ct.Host{Root: root, Run: run.Host{}, Now: time.Now}
	h.LXC = lxc.Programs{Path: h.LXCPath(), Run: run.Host{}}
	h.Active = func(context.Context) (map[string]bool, error) { return lxc.Active("/proc", h.LXCPath()) }
	home := testct.Container(t, h.LXCPath(), int(b.vmid), "lxc.net.0.type = empty\n")
	err := lxc.Start{Name: b.vmid.String(), Path: h.LXCPath(), Log: home + "/log"}.Run(t.Context(), run.Host{})
	if err != nil {
		t.Fatal(err)
	}
	testct.Up(t, home)
	tree, err := cgroup.Open("/sys/fs/cgroup", "/proc")
	if err != nil {
		t.Skip(err)
	}
	powers := &power.Service{Host: h}
	b.Service = &hotplug.Service{
		Host: h, Net: link.Open, CPUs: powers.PickCPUs, Volumes: volumes,
		Machine: func(ctx context.Context) (lxcconf.Machine, error) {
			return power.Look(ctx, tree.Unified(), func(context.Context) (lxc.Version, error) { return lxc.Version{Major: 5}, nil })
		},
		Setup: func(context.Context) setup.Env {
			return setup.Env{Distributions: []setup.Distribution{alpine.Distribution()}, Printf: t.Logf, Warnf: t.Logf}
		},
	}
	b.doc = &config.Doc{
		Values:  schema.Params{"arch": "amd64", "ostype": "alpine", "memory": "512", "swap": "0", "unprivileged": "1", "hostname": "box"},
		Pending: schema.Params{},
	}
	return b
}

// pct changes options as "pct set" does, and returns what was refused.
func (b *box) pct(changes schema.Params, deletes ...string) schema.Faults {
	b.Helper()
	var keys []string
	for key, value := range changes {
		guest.AddPending(b.doc, key, value)
		keys = append(keys, key)
	}
	for _, key := range deletes {
		guest.AddDelete(b.doc, key, false)
		keys = append(keys, key)
	}
	for _, key := range keys {
		if key == "cores" { // needs nothing done, so it holds already
			if value, changes := b.doc.Pending[key]; changes {
				b.doc.Values[key] = value
			} else {
				delete(b.doc.Values, key)
			}
			guest.Revert(b.doc, key)
		}
	}
	b.output.Reset()
	ctx := api.WithStreams(b.Context(), api.Streams{Out: io.Discard, Err: &b.output})
	faults, err := b.Plug(ctx, b.vmid, b.doc, keys)
	if err != nil {
		b.Fatal(err)
	}
	if b.output.Len() > 0 {
		b.Logf("%s", &b.output)
	}
	return faults
}

// must is pct with changes that have to hold.
func (b *box) must(changes schema.Params, deletes ...string) {
	b.Helper()
	if faults := b.pct(changes, deletes...); len(faults) > 0 || len(b.doc.Pending) > 0 {
		b.Fatalf("faults %v, pending %v", faults, b.doc.Pending)
	}
}

// exec runs a command line in the container.
func (b *box) exec(line string) (string, error) {
	out, err := exec.CommandContext(b.Context(), "lxc-attach", "-P", b.LXCPath(), "-n", b.vmid.String(), "--clear-env", "--",
		"/bin/sh", "-c", "export PATH=/bin:/sbin; "+line).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// cgroup reads a limit, where it counts.
func (b *box) cgroup(file string) string {
	b.Helper()
	controller, _, _ := strings.Cut(file, ".")
	if b.unified() {
		controller = ""
	}
	found, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", controller, "lxc", b.vmid.String(), file))
	if err != nil || len(found) != 1 {
		b.Skipf("control groups are elsewhere here: %v, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (b *box) unified() bool {
	m, err := b.Machine(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return m.Kernel.Unified
}

func TestMemory(t *testing.T) {
	b := start(t, nil)
	limit := "memory.limit_in_bytes"
	if b.unified() {
		limit = "memory.max"
	}
	b.must(schema.Params{"memory": "256"})
	if got := b.cgroup(limit); got != strconv.Itoa(256<<20) {
		t.Errorf("%s is %s", limit, got)
	}
	b.must(schema.Params{"memory": "48"})
	if out, err := b.exec("dd if=/dev/zero of=/dev/null bs=100M count=1"); err == nil {
		t.Errorf("the limit is not enforced: %s", out)
	}
	b.must(schema.Params{"memory": "300", "swap": "0"})
	if out, err := b.exec("dd if=/dev/zero of=/dev/null bs=100M count=1"); err != nil {
		t.Errorf("the limit did not grow: %v: %s", err, out)
	}
	// A program that holds 100 MiB, as it waits for a reader.
	if out, err := b.exec("mkfifo /tmp/hold; (dd if=/dev/zero of=/tmp/hold bs=100M count=1 >/dev/null 2>&1 & exec 3</tmp/hold; sleep 1000) >/dev/null 2>&1 & " +
		"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.5; grep -q 'VmRSS:.*[^0-9]1[0-9][0-9][0-9][0-9][0-9] kB' /proc/[0-9]*/status && exit 0; done; exit 1"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	faults := b.pct(schema.Params{"memory": "64"})
	if text := faults["memory"]; !strings.HasPrefix(text, "unable to hotplug memory: the container uses 1") || b.doc.Pending["memory"] != "64" || b.doc.Values["memory"] != "300" {
		t.Errorf("faults %v, pending %v", faults, b.doc.Pending)
	}
	if got := b.cgroup(limit); got != strconv.Itoa(300<<20) {
		t.Errorf("%s is %s", limit, got)
	}
}

func TestProcessors(t *testing.T) {
	b := start(t, nil)
	b.must(schema.Params{"cpulimit": "0.5", "cpuunits": "50"})
	quota, units := "cpu.cfs_quota_us", "cpu.shares"
	want := "50000"
	if b.unified() {
		quota, units, want = "cpu.max", "cpu.weight", "50000 100000"
	}
	if got := b.cgroup(quota); got != want {
		t.Errorf("%s is %s", quota, got)
	}
	if got := b.cgroup(units); got != "50" {
		t.Errorf("%s is %s", units, got)
	}
	b.must(nil, "cpulimit", "cpuunits")
	if got := b.cgroup(quota); got != "-1" && got != "max 100000" {
		t.Errorf("%s is %s", quota, got)
	}
	all, err := power.CPUSet(b.vmid)
	if err != nil || len(all) < 2 {
		t.Skipf("needs two processors: %v, %v", all, err)
	}
	b.must(schema.Params{"cores": "1"})
	if cpus, err := power.CPUSet(b.vmid); err != nil || len(cpus) != 1 {
		t.Errorf("runs on %v, %v; %s", cpus, err, &b.output)
	}
	if out, err := b.exec("grep Cpus_allowed_list /proc/1/status"); err != nil || strings.ContainsAny(strings.Fields(out)[1], "-,") {
		t.Errorf("%s, %v", out, err)
	}
	b.must(nil, "cores")
	if cpus, err := power.CPUSet(b.vmid); err != nil || !slices.Equal(cpus, all) {
		t.Errorf("runs on %v, %v; %s", cpus, err, &b.output)
	}
}

// links names the devices of the host that belong to the container.
func (b *box) links() []string {
	all, err := net.Interfaces()
	if err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, i := range all {
		if strings.Contains(i.Name, b.vmid.String()+"i") || strings.Contains(i.Name, b.vmid.String()+"p") {
			names = append(names, strings.ReplaceAll(i.Name, b.vmid.String(), "N"))
		}
	}
	slices.Sort(names)
	return names
}

func TestNet(t *testing.T) {
	bridge, network := testct.Bridge(t)
	b := start(t, nil)
	ping := func(address string) {
		t.Helper()
		if out, err := b.exec("ping -c 1 -W 10 " + address); err != nil {
			t.Errorf("ping %s: %v: %s", address, err, out)
		}
	}
	card := func(more string) schema.Params {
		return schema.Params{"net0": "name=eth0,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:01,type=veth" + more}
	}
	b.must(card(",ip=" + network + "2/24,gw=" + network + "1"))
	ping(network + "1")
	if out, _ := b.exec("cat /etc/network/interfaces; ip addr show eth0; ip route"); !strings.Contains(out, "address "+network+"2") ||
		!strings.Contains(out, "bc:24:11:00:00:01") || !strings.Contains(out, "default via "+network+"1 dev eth0") {
		t.Error(out)
	}
	if got := b.links(); !slices.Equal(got, []string{"vethNi0"}) {
		t.Errorf("devices %v", got)
	}

	// A second card, then another address for the first one and a firewall before it.
	b.must(schema.Params{"net1": "name=lan,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:02,ip=" + network + "77/32"})
	b.must(card(",firewall=1,rate=5,ip=" + network + "3/24,gw=" + network + "1"))
	if out, _ := b.exec("ip -4 addr show eth0; ip route"); strings.Contains(out, network+"2/24") || !strings.Contains(out, network+"3/24") ||
		!strings.Contains(out, "default via "+network+"1 dev eth0") {
		t.Error(out)
	}
	ping(network + "1")
	want := []string{"fwbrNi0", "fwlnNi0", "fwprNp0", "vethNi0", "vethNi1"}
	if got := slices.DeleteFunc(b.links(), func(name string) bool { return name == "ifbNi0" }); !slices.Equal(got, want) {
		t.Errorf("devices %v", got)
	}
	rate := func() string {
		out, err := exec.Command("tc", "qdisc", "show", "dev", fmt.Sprintf("veth%di0", b.vmid)).CombinedOutput()
		if err != nil {
			t.Logf("tc: %v", err)
		}
		return string(out)
	}
	if got := rate(); !strings.Contains(got, "rate 41943Kbit") {
		t.Errorf("rate %s", got)
	}
	b.must(card(",firewall=1,rate=10,ip=" + network + "3/24,gw=" + network + "1"))
	if got := rate(); !strings.Contains(got, "rate 83886Kbit") {
		t.Errorf("rate %s", got)
	}
	b.must(card(",link_down=1,ip=" + network + "3/24,gw=" + network + "1"))
	if out, _ := b.exec("cat /sys/class/net/eth0/carrier"); out != "0" {
		t.Errorf("carrier %q", out)
	}
	b.must(card(",mtu=1300,ip=" + network + "3/24,gw=" + network + "1"))
	ping(network + "1")
	if out, _ := b.exec("cat /sys/class/net/eth0/mtu /sys/class/net/eth0/carrier"); out != "1300\n1" {
		t.Errorf("MTU and carrier %q", out)
	}

	// What cannot be leaves everything as it is.
	before, holds := b.links(), b.doc.Values["net0"]
	for name, tt := range map[string]struct{ key, value, fault string }{
		"no bridge":      {"net0", "name=eth0,bridge=vsnone0,hwaddr=BC:24:11:00:00:01,ip=" + network + "9/24", "unable to hotplug net0: bridge 'vsnone0' does not exist"},
		"no bridge, new": {"net0", "name=eth7,bridge=vsnone0,hwaddr=BC:24:11:00:00:07", "unable to hotplug net0: bridge 'vsnone0' does not exist"},
		"name is taken":  {"net2", "name=lan,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:03", "unable to hotplug net2: the container has an interface 'lan' already"},
		"taken, change":  {"net0", "name=lan,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:03", "unable to hotplug net0: the container has an interface 'lan' already"},
		"gateway": {
			"net0", "name=eth0,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:01,firewall=1,ip=" + network + "9/24,gw=fd00::1",
			"unable to hotplug net0: ",
		},
		"trunks": {
			"net2", "name=eth2,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:03,trunks=5",
			fmt.Sprintf("unable to hotplug net2: join veth%di2 to bridge '%s': vlan aware feature need to be enabled to use trunks on bridge '%s'", b.vmid, bridge, bridge),
		},
	} {
		faults := b.pct(schema.Params{tt.key: tt.value})
		if text := faults[tt.key]; !strings.HasPrefix(text, tt.fault) || text == "" {
			t.Errorf("%s: %v", name, faults)
		}
		if b.doc.Pending[tt.key] != tt.value || b.doc.Values["net0"] != holds || b.output.Len() > 0 {
			t.Errorf("%s: pending %v, values %v", name, b.doc.Pending, b.doc.Values)
		}
		guest.Revert(b.doc, tt.key)
		if got := b.links(); !slices.Equal(got, before) {
			t.Errorf("%s: devices %v, were %v", name, got, before)
		}
		ping(network + "1")
	}
	if out, _ := b.exec("ip -4 addr show eth0; ip route; ls /sys/class/net"); strings.Contains(out, network+"9") || !strings.Contains(out, "default via "+network+"1 dev eth0") {
		t.Error(out)
	}

	// Another name makes another card.
	b.must(schema.Params{"net0": "name=wan,bridge=" + bridge + ",hwaddr=BC:24:11:00:00:01,ip=" + network + "4/24,gw=" + network + "1"})
	ping(network + "1")
	b.must(nil, "net1")
	if out, _ := b.exec("ls /sys/class/net"); out != "lo\nwan" {
		t.Error(out)
	}
	b.must(nil, "net0")
	if got := b.links(); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

func TestMount(t *testing.T) {
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	if err := os.MkdirAll(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shared+"/hello", []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	volumes := images{shared: {Kind: mount.Bind, Source: shared}, "/nowhere": {Kind: mount.Bind, Source: "/nowhere"}}
	image := filepath.Join(dir, "image")
	if mkfs, err := exec.LookPath("mkfs.ext4"); err == nil {
		if out, err := exec.Command("truncate", "-s", "16M", image).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := exec.Command(mkfs, "-q", "-E", "root_owner=100000:100000", image).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		volumes["local:1/vm-1-disk-0.raw"] = mount.Point{Kind: mount.Volume, Format: mount.Raw, Source: image}
	}
	b := start(t, volumes)
	b.must(schema.Params{"mp0": shared + ",mp=/srv/shared,ro=1"})
	if out, err := b.exec("cat /srv/shared/hello"); err != nil || out != "from the host" {
		t.Errorf("%s, %v", out, err)
	}
	if len(volumes) > 2 {
		if faults := b.pct(schema.Params{"mp1": "local:1/vm-1-disk-0.raw,mp=/data,size=16M"}); len(faults) > 0 {
			t.Skip(faults)
		}
		if out, err := b.exec("echo kept >/data/file; sync; cat /data/file; grep ' /data ' /proc/mounts"); err != nil || !strings.HasPrefix(out, "kept\n/dev/loop") {
			t.Errorf("%s, %v", out, err)
		}
	}
	faults := b.pct(schema.Params{"mp2": "/nowhere,mp=/else"})
	if !strings.HasPrefix(faults["mp2"], "unable to hotplug mp2: ") || b.doc.Pending["mp2"] == "" {
		t.Errorf("faults %v, pending %v", faults, b.doc.Pending)
	}
	// Changes of mount points, and their end, wait for a restart.
	guest.Revert(b.doc, "mp2")
	if faults := b.pct(schema.Params{"mp0": shared + ",mp=/srv/other"}); len(faults) > 0 || len(b.doc.Pending) != 1 {
		t.Errorf("faults %v, pending %v", faults, b.doc.Pending)
	}
	if faults := b.pct(nil, "mp0"); len(faults) > 0 || b.doc.Pending["delete"] != "mp0" {
		t.Errorf("faults %v, pending %v", faults, b.doc.Pending)
	}
	guest.Revert(b.doc, "mp0")

	b.must(schema.Params{"dev0": "/dev/zero,mode=0600,uid=5"})
	if out, err := b.exec("stat -c '%u %a' /dev/zero; head -c 3 /dev/zero | wc -c"); err != nil || out != "5 600\n3" {
		t.Errorf("%s, %v", out, err)
	}

	// All is gone with the container, whoever ends it.
	if err := exec.Command("lxc-stop", "-k", "-P", b.LXCPath(), "-n", b.vmid.String()).Run(); err != nil {
		t.Fatal(err)
	}
	if left := testct.Left(filepath.Dir(b.LXCPath()), int(b.vmid)); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// The kernel lets go of mounts a moment after the last process of a namespace.
	attached := func() string {
		out, err := exec.Command("losetup", "-j", image).Output()
		if err != nil {
			t.Log(err)
		}
		return string(out)
	}
	for deadline := time.Now().Add(20 * time.Second); attached() != "" && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if left := attached(); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestGone(t *testing.T) {
	h := &ct.Host{Root: t.TempDir(), LXC: lone{}}
	s := &hotplug.Service{Host: h, Machine: func(context.Context) (lxcconf.Machine, error) { return lxcconf.Machine{}, nil }}
	doc := &config.Doc{Values: schema.Params{}, Pending: schema.Params{"memory": "64"}}
	if _, err := s.Plug(t.Context(), 100, doc, []string{"memory"}); err == nil || err.Error() != "container 100 not running" {
		t.Errorf("got %v", err)
	}
	if faults, err := s.Plug(t.Context(), 100, doc, []string{"hostname"}); len(faults) > 0 || err != nil {
		t.Errorf("got %v, %v", faults, err)
	}
}

// lone is a container that does not run.
type lone struct{ ct.Runtime }

func (lone) InitPID(context.Context, string) (int, error) { return 0, nil }
