package power

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// Programs that manage quotas of users name file systems by their devices, and read them. So a
// container gets the nodes of those it manages quotas on, for reading.

// quotaNodes returns the nodes of the devices that the stack has mounted with quotas.
func quotaNodes(stack *mount.Stack) (nodes []mount.Node, err error) {
	for _, m := range stack.Mounted {
		if !m.Point.Quota || m.Device == "" {
			continue
		}
		n, err := mount.LookNode(m.Device)
		if err != nil {
			return nil, err
		}
		n.Mode = 0o660
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// quotaRules is the file with the rules of control groups for such nodes: our hook finds out
// which they are, and LXC takes rules only when it has started the container.
const quotaRules = "quota.rules"

// noteQuota writes for LXC which nodes it mounts, and the rules for allowQuota.
func (s *Service) noteQuota(vmid id.VM, conf *container.Config, nodes []mount.Node) error {
	if !slices.ContainsFunc(conf.Points(), func(p container.Point) bool { return is(p.Quota) }) {
		return remove(lxcconf.QuotaMounts(s.Dir(vmid)), s.path(vmid, quotaRules))
	}
	entries, rules := &strings.Builder{}, &strings.Builder{}
	for _, n := range nodes {
		entries.WriteString(lxcconf.NodeEntry(s.Dir(vmid), n.Path) + "\n")
		fmt.Fprintf(rules, "%s %s r\n", n.Type(), n.Number())
	}
	err := file.Write(lxcconf.QuotaMounts(s.Dir(vmid)), []byte(entries.String()), 0o600)
	return errors.Join(err, file.Write(s.path(vmid, quotaRules), []byte(rules.String()), 0o600))
}

// allowQuota lets a container that has just been started read the devices.
func (s *Service) allowQuota(ctx context.Context, vmid id.VM) error {
	rules, err := os.ReadFile(s.path(vmid, quotaRules))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for rule := range strings.Lines(string(rules)) {
		if err := s.allow(ctx, vmid.String(), strings.TrimSpace(rule)); err != nil {
			return fmt.Errorf("let CT %d read the device of a quota: %w", vmid, err)
		}
	}
	return nil
}

// allow adds a rule to the control groups of a container. Those of version 1 have it as a file,
// each for itself; with version 2 it is a program that LXC keeps.
func (s *Service) allow(ctx context.Context, name, rule string) error {
	const file, inner = "devices.allow", "ns"
	for _, group := range lxc.Groups("/proc", name) {
		path := filepath.Join(group, file)
		if _, err := os.Stat(path); err != nil || !strings.HasSuffix(group, lxc.PayloadGroup(name)) {
			continue
		}
		return errors.Join(os.WriteFile(path, []byte(rule), 0), os.WriteFile(filepath.Join(group, inner, file), []byte(rule), 0))
	}
	return s.LXC.SetCgroup(ctx, name, file, rule)
}
