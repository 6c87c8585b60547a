package power

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// WriteConfig writes what LXC reads of a container: at each start, and when its configuration
// has changed. A template has none. What the user should know is told; in which way the
// container will be confined less than it might be is returned.
func (s *Service) WriteConfig(ctx context.Context, vmid id.VM, doc *config.Doc) (notes []string, err error) {
	if guest.IsTemplate(doc) {
		if p := plan.From(ctx); p != nil {
			return nil, nil
		}
		return nil, remove(s.path(vmid, "config"))
	}
	result, err := s.compose(ctx, vmid, doc)
	if err != nil {
		return nil, err
	}
	for _, warning := range result.Warnings {
		fmt.Fprintln(api.StreamsOf(ctx).Err, warning)
	}
	text, err := result.Lines.Text()
	if err != nil {
		return nil, err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("write %s", s.path(vmid, "config"))
		return result.Notes, nil
	}
	if err := os.MkdirAll(s.RootDir(vmid), 0o755); err != nil {
		return nil, err
	}
	if result.Seccomp != "" {
		if err := file.Replace(lxcconf.SeccompFile(s.Dir(vmid)), []byte(result.Seccomp), 0o600); err != nil {
			return nil, err
		}
	}
	// The environment of the container may have secrets.
	return result.Notes, file.Replace(s.path(vmid, "config"), []byte(text), 0o600)
}

// compose finds out what the configuration depends on and makes it.
func (s *Service) compose(ctx context.Context, vmid id.VM, doc *config.Doc) (*lxcconf.Result, error) {
	conf, raw := container.Typed(doc.Values), container.RawLines(doc.Values)
	ids, err := mapOf(conf, raw)
	if err != nil {
		return nil, err
	}
	m, err := s.Machine(ctx)
	if err != nil {
		return nil, err
	}
	c := lxcconf.Container{VMID: vmid, Config: conf, Raw: raw, IDs: ids, Dir: s.Dir(vmid), Hook: s.Hook}
	if c.MTU, err = s.mtus(conf); err != nil {
		return nil, err
	}
	if c.CPUs, err = s.PickCPUs(ctx, vmid, conf); err != nil {
		return nil, err
	}
	if c.Nodes, err = nodes(conf, ids); err != nil {
		return nil, err
	}
	return lxcconf.Make(m, c)
}

// nodes looks at the devices that a container gets, as it gets them.
func nodes(conf *container.Config, ids idmap.Map) (map[int]mount.Node, error) {
	found := map[int]mount.Node{}
	for _, n := range slices.Sorted(maps.Keys(conf.Device)) {
		node, err := NodeOf(conf.Device[n], ids)
		if err != nil {
			return nil, fmt.Errorf("dev%d: %w", n, err)
		}
		found[n] = node
	}
	return found, nil
}

// NodeOf looks at a device that a container gets, as it gets it.
func NodeOf(d container.Device, ids idmap.Map) (mount.Node, error) {
	if d.Path == nil {
		return mount.Node{}, errors.New("path is not defined")
	}
	node, err := mount.LookNode(filepath.Clean(*d.Path))
	if err != nil {
		return node, err
	}
	mode, uid, gid := os.FileMode(mount.DefaultNodeMode), 0, 0
	if d.Mode != nil {
		if mode, err = mount.ParseMode(*d.Mode); err != nil {
			return node, err
		}
	}
	if d.UID != nil {
		uid = *d.UID
	}
	if d.GID != nil {
		gid = *d.GID
	}
	return node.Given(IDs(ids), uid, gid, mode)
}

// Look tells what containers run on, as the files of the machine have it. find tells the
// version of LXC; where it is not installed, configurations are made for the oldest.
func Look(ctx context.Context, unified bool, find func(context.Context) (lxc.Version, error)) (lxcconf.Machine, error) {
	version, err := find(ctx)
	if errors.Is(err, lxc.ErrMissing) {
		version, err = lxc.Version{Major: 4}, nil
	}
	if err != nil {
		return lxcconf.Machine{}, err
	}
	m := lxcconf.Machine{
		LXC:       version,
		Kernel:    lxc.Offers("/proc", "/sys", unified),
		SwapLimit: file.Exists(filepath.Join(cgroups, "memory/memory.memsw.limit_in_bytes")),
	}
	found, err := filepath.Glob("/usr/share/lxc/config/common.conf.d/*.conf")
	if err != nil {
		return m, err
	}
	for _, path := range found {
		// The hook of lxcfs after the end of a container only waits for half a second, for the sake of
		// reboots by LXC itself, which we have none of.
		if !strings.Contains(filepath.Base(path), "lxcfs") {
			m.Includes = append(m.Includes, path)
		}
	}
	const lxcfs = "/usr/share/lxcfs/lxc.mount.hook"
	if file.Exists("/var/lib/lxcfs/proc/meminfo") && file.Exists(lxcfs) {
		m.LXCFS = lxcfs
	}
	const proxy = "/run/pve/lxc-syscalld.sock"
	if file.Exists(proxy) {
		m.SyscallProxy = proxy
	}
	return m, nil
}
