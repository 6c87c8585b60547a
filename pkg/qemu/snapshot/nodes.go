package snapshot

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A node is one image of a chain, as the running QEMU has it open.
type node struct {
	name string // of the block node that knows the format
	file string // of the one below it that knows where the bytes are
	path string // as QEMU has opened it: it may have another name since
	ro   bool
	// extended says that its clusters are in pieces that are allocated one by one.
	extended bool
}

// blockNode is what QEMU tells of each block node.
type blockNode struct {
	Name   string `json:"node-name"`
	Driver string `json:"drv"`
	File   string `json:"file"`
	RO     bool   `json:"ro"`
	Image  struct {
		Specific struct {
			Data struct {
				Extended bool `json:"extended-l2"`
			} `json:"data"`
		} `json:"format-specific"`
	} `json:"image"`
}

func (m *machine) blockNodes(ctx context.Context) (map[string]blockNode, error) {
	var list []blockNode
	if err := m.call(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &list); err != nil {
		return nil, err
	}
	nodes := map[string]blockNode{}
	for _, n := range list {
		nodes[n.Name] = n
	}
	return nodes, nil
}

// nodes returns the images that the drive of an option is on in the running QEMU, the one that
// is written to first.
func (m *machine) nodes(ctx context.Context, key string) ([]node, error) {
	known, err := m.blockNodes(ctx)
	if err != nil {
		return nil, err
	}
	var graph struct {
		Nodes []struct {
			ID   int64  `json:"id"`
			Name string `json:"name"`
		} `json:"nodes"`
		Edges []struct {
			Parent int64  `json:"parent"`
			Child  int64  `json:"child"`
			Name   string `json:"name"`
		} `json:"edges"`
	}
	if err := m.call(ctx, "x-debug-query-block-graph", nil, &graph); err != nil {
		return nil, err
	}
	names, below := map[int64]string{}, map[string]map[string]string{}
	for _, n := range graph.Nodes {
		names[n.ID] = n.Name
		below[n.Name] = map[string]string{}
	}
	for _, e := range graph.Edges {
		below[names[e.Parent]][e.Name] = names[e.Child]
	}
	at := device(key)
	if known[at].Driver == "throttle" {
		at = below[at]["file"]
	}
	var found []node
	for ; at != ""; at = below[at]["backing"] {
		n := known[at]
		file := below[at]["file"]
		if len(found) > 0 && file == "" {
			break // the base of a linked clone may be anything
		}
		if n.Driver != "qcow2" && len(found) == 0 || len(found) > len(known) {
			return nil, fmt.Errorf("block node '%s' of %s is busy (%s)", at, device(key), n.Driver)
		}
		found = append(found, node{name: at, file: file, path: known[file].File, ro: n.RO, extended: n.Image.Specific.Data.Extended})
	}
	return found, nil
}

// opened tells for each file of a chain whether the process has it open, by whatever name.
func (m *machine) opened(links []storage.Link) ([]bool, error) {
	pid, err := m.Dir.Running(m.vmid)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("files of VM %d: %w", m.vmid, err)
	}
	open := map[identity]bool{}
	for _, fd := range fds {
		if st, err := os.Stat(filepath.Join(dir, fd.Name())); err == nil {
			open[identify(st)] = true
		}
	}
	found := make([]bool, len(links))
	for i, l := range links {
		st, err := os.Stat(l.Path)
		if err != nil {
			return nil, err
		}
		found[i] = open[identify(st)]
	}
	return found, nil
}

// identity is what stays of a file when its name changes.
type identity struct{ device, file uint64 }

func identify(st fs.FileInfo) identity {
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return identity{}
	case st.Mode()&os.ModeDevice != 0:
		return identity{device: uint64(sys.Rdev)} //nolint:unconvert // its type differs between machines
	}
	return identity{device: uint64(sys.Dev), file: sys.Ino} //nolint:unconvert // its type differs between machines
}

// chainNode is how the nodes are called that are added here: c for the format, d for what is
// below it. Each has a name of its own, as an image can be open twice for a moment.
func chainNode(kind byte, d qemu.Drive, path string, serial int64) string {
	d.File += fmt.Sprintf(" %s %d", path, serial)
	return cmdline.NodeName(kind, d)
}

// ours tells whether a node was added here.
func ours(name string) bool { return len(name) == nodeNameSize && name[0] == 'c' }

// nodeNameSize is how long the names are that [cmdline.NodeName] makes.
const nodeNameSize = 31

// A chain is a volume with its states, as the storage has it and as QEMU has.
type chain struct {
	m       *machine
	drive   qemu.Drive
	links   []storage.Link
	nodes   []node
	options map[string]any // of the node with the format of the volume
}

// chain returns the chain of a volume that a running QEMU has open, see [machine.chainedOpen].
func (m *machine) chain(ctx context.Context, c chained) (*chain, error) {
	doc, err := m.Load(ctx, m.vmid)
	if err != nil {
		return nil, err
	}
	d, err := qemu.ParseDrive(c.key, doc.Values[c.key])
	if err != nil {
		return nil, err
	}
	conf := vm.Typed(doc.Values)
	arch := ""
	if conf.Arch != nil {
		arch = *conf.Arch
	}
	host, err := m.Power.Gather(ctx, m.vmid, arch)
	if err != nil {
		return nil, err
	}
	options, err := cmdline.DriveNodes(cmdline.VM{ID: m.vmid, Config: *conf}, *host, d)
	if err != nil {
		return nil, err
	}
	ch := &chain{m: m, drive: d, options: options}
	if ch.links, err = m.Storage.Chain(ctx, c.volume); err != nil {
		return nil, err
	}
	return ch, ch.look(ctx)
}

// look asks QEMU what it has.
func (c *chain) look(ctx context.Context) (err error) {
	if c.nodes, err = c.m.nodes(ctx, c.drive.Key()); err != nil {
		return err
	}
	if len(c.nodes) < len(c.links) {
		return fmt.Errorf("QEMU of VM %d has %d images of %s open, its storage has %d", c.m.vmid, len(c.nodes), c.drive.Key(), len(c.links))
	}
	return nil
}

// open returns the options of a node for an image of the chain.
func (c *chain) open(path, name, file string, readOnly bool) map[string]any {
	options := maps.Clone(c.options)
	below, _ := options["file"].(map[string]any)
	below = maps.Clone(below)
	options["node-name"], below["node-name"], below["filename"] = name, file, path
	options["read-only"], below["read-only"] = readOnly, readOnly
	if readOnly {
		// QEMU makes it writable while it merges something into it, and what is below has to follow.
		delete(below, "read-only")
	}
	options["file"] = below
	return options
}

// serial makes names that no node had before.
func (c *chain) serial() int64 { return c.m.Now().UnixNano() }

// renew gives QEMU all that the volume lies on anew, by the names that the files have now: it
// opens them again by name when it is to write to them, which must not be another file's.
func (c *chain) renew(ctx context.Context) error {
	if err := c.look(ctx); err != nil {
		return err
	}
	if len(c.links) == 1 || c.fresh() {
		return c.sweep(ctx)
	}
	old := c.nodes[1:len(c.links)]
	for _, n := range old {
		// A merge that was cut off has left it so; who writes to a file does not let others read it.
		if n.ro {
			continue
		}
		if err := c.writable(ctx, n, false); err != nil {
			return err
		}
	}
	under := ""
	var added []string
	undo := func(err error) error {
		for _, name := range slices.Backward(added) {
			_ = c.del(ctx, name)
		}
		return err
	}
	serial := c.serial()
	for _, l := range slices.Backward(c.links[1:]) {
		options := c.open(l.Path, chainNode('c', c.drive, l.Path, serial), chainNode('d', c.drive, l.Path, serial), true)
		if under != "" {
			options["backing"] = under
		}
		if err := c.m.call(ctx, "blockdev-add", options, nil); err != nil {
			return undo(err)
		}
		under = fmt.Sprint(options["node-name"])
		added = append(added, under)
	}
	top := maps.Clone(c.options)
	top["read-only"] = false // whether the guest may write is up to the node above
	top["node-name"], top["file"], top["backing"] = c.nodes[0].name, c.nodes[0].file, under
	if err := c.m.call(ctx, "blockdev-reopen", map[string]any{"options": []any{top}}, nil); err != nil {
		return undo(err)
	}
	if err := c.sweep(ctx); err != nil {
		return err
	}
	return c.look(ctx)
}

// fresh tells whether QEMU has what the volume lies on by nodes of ours, with the right names.
func (c *chain) fresh() bool {
	for i, l := range c.links {
		if i > 0 && (!ours(c.nodes[i].name) || !c.nodes[i].ro || c.nodes[i].path != l.Path) {
			return false
		}
	}
	return true
}

// writable reopens a node of ours to be written to, or only to be read. What is below stays
// writable: it would be opened again by a name that may be another file's by now.
func (c *chain) writable(ctx context.Context, n node, on bool) error {
	if !ours(n.name) {
		return nil
	}
	options := c.open(n.path, n.name, n.file, false)
	options["read-only"] = !on
	known, err := c.m.nodes(ctx, c.drive.Key())
	if err != nil {
		return err
	}
	// Without a word on it, what is below would be opened anew by what the image says.
	i := slices.IndexFunc(known, func(k node) bool { return k.name == n.name })
	if i >= 0 && i+1 < len(known) {
		options["backing"] = known[i+1].name
	} else {
		options["backing"] = nil
	}
	return c.m.call(ctx, "blockdev-reopen", map[string]any{"options": []any{options}}, nil)
}

// sweep lets QEMU close what nothing uses any more.
func (c *chain) sweep(ctx context.Context) error { return c.m.sweep(ctx) }

func (m *machine) sweep(ctx context.Context) error {
	for range 1000 { // each one that goes may have kept another
		known, err := m.blockNodes(ctx)
		if err != nil {
			return err
		}
		gone := false
		for name := range known {
			if ours(name) && m.call(ctx, "blockdev-del", map[string]string{"node-name": name}, nil) == nil {
				gone = true // those in use are refused
			}
		}
		if !gone {
			return nil
		}
	}
	return nil
}

func (c *chain) del(ctx context.Context, name string) error {
	return c.m.call(ctx, "blockdev-del", map[string]string{"node-name": name}, nil)
}
