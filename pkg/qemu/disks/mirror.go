package disks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// Mirrors are the copies that the QEMU of a running VM makes of its disks while the
// guest goes on. All of them follow what the guest writes until they are ended
// together, so that they show one moment.
//
// Between looks the monitor is left to others: a mirror takes long.
type Mirrors struct {
	s    *Service
	vm   id.VM
	jobs []mirrorJob
}

type mirrorJob struct{ id, target string }

// Mirrors begins none yet.
func (s *Service) Mirrors(vmid id.VM) *Mirrors { return &Mirrors{s: s, vm: vmid} }

// jobOf names the job that copies a drive.
func jobOf(key string) string { return "mirror-" + key }

// How often jobs are looked at, how long QEMU may take to answer, and how long ending
// copies may take.
const (
	mirrorPoll     = 200 * time.Millisecond
	monitorTimeout = 30 * time.Second
	endTimeout     = time.Minute
)

// call runs a command of the VM's monitor.
func (m *Mirrors) call(ctx context.Context, command string, args, result any) error {
	ctx, cancel := context.WithTimeout(ctx, monitorTimeout)
	defer cancel()
	mon, err := m.s.Dir.Dial(ctx, m.vm)
	if err != nil {
		return err
	}
	defer mon.Close()
	if err := mon.Call(ctx, command, args, result); err != nil {
		return fmt.Errorf("VM %s %w", m.vm, err)
	}
	return nil
}

// mirror copies a drive of a running VM. Without mirrors to add it to, the VM goes on
// with the copy.
func (s *Service) mirror(ctx context.Context, src Source, to Target, made id.Volume) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("VM %s: mirror %s to %s", src.VM, src.Drive.File, made)
		return nil
	}
	if to.Mirrors != nil {
		return to.Mirrors.start(ctx, src, to, made)
	}
	m := s.Mirrors(src.VM)
	defer m.Close()
	if err := m.start(ctx, src, to, made); err != nil {
		return err
	}
	if src.VM != to.VM { // an import: the source keeps what it has
		return m.Finish(ctx)
	}
	return m.pivot(ctx, made)
}

// A doubtError says that QEMU was told to go on with a copy, and that it is not known
// whether it has.
type doubtError struct {
	target id.Volume
	err    error
}

func (e *doubtError) Error() string { return e.err.Error() }
func (e *doubtError) Unwrap() error { return e.err }

// start begins the copy of a drive and returns when it has caught up.
func (m *Mirrors) start(ctx context.Context, src Source, to Target, made id.Volume) error {
	doc, err := m.s.Load(ctx, m.vm)
	if err != nil {
		return err
	}
	nodes, err := m.nodes(ctx, doc.Values, src.Drive, made)
	if err != nil {
		return err
	}
	if err := m.trim(ctx, "drive-"+src.Drive.Key(), made, nodes); err != nil {
		return err
	}
	job := mirrorJob{id: jobOf(src.Drive.Key()), target: fmt.Sprint(nodes["node-name"])}
	if err := m.reap(ctx, job.id, doc.Values); err != nil {
		return err
	}
	api.Printf(ctx, "drive mirror is starting for drive-%s\n", src.Drive.Key())
	if err := m.call(ctx, "blockdev-add", nodes, nil); err != nil {
		return err
	}
	m.jobs = append(m.jobs, job)
	if err := m.fit(ctx, "drive-"+src.Drive.Key(), job.target); err != nil {
		return err
	}
	replaces, err := m.below(ctx, src.Drive)
	if err != nil {
		return err
	}
	args := map[string]any{
		"job-id": job.id, "device": "drive-" + src.Drive.Key(), "replaces": replaces,
		"target": job.target, "sync": "full", "auto-dismiss": false,
	}
	if to.BWLimit > 0 {
		args["speed"] = int64(to.BWLimit) * 1024
	}
	if err := m.call(ctx, "blockdev-mirror", args, nil); err != nil {
		return err
	}
	return m.await(ctx, job, "ready")
}

// below returns the node that the one of a drive is on. After a snapshot that is a volume of its
// own it is no longer the one that QEMU was started with.
func (m *Mirrors) below(ctx context.Context, d qemu.Drive) (string, error) {
	usual := cmdline.NodeName('f', d)
	nodes, err := m.blockNodes(ctx)
	if err != nil || slices.ContainsFunc(nodes, func(n blockNode) bool { return n.Name == usual }) {
		return usual, err
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
		return "", err
	}
	names := map[int64]string{}
	for _, n := range graph.Nodes {
		names[n.ID] = n.Name
	}
	for _, e := range graph.Edges {
		if names[e.Parent] == "drive-"+d.Key() && e.Name == "file" {
			return names[e.Child], nil
		}
	}
	return usual, nil
}

// nodes returns the block nodes of the copy.
func (m *Mirrors) nodes(ctx context.Context, values schema.Params, d qemu.Drive, made id.Volume) (map[string]any, error) {
	if err := m.s.Storage.ActivateVolumes(ctx, "", made); err != nil {
		return nil, err
	}
	conf := vm.Typed(values)
	host, err := m.s.Gather(ctx, m.vm, text(conf.Arch))
	if err != nil {
		return nil, err
	}
	d.File, d.Format, d.ReadOnly = made.String(), nil, nil
	nodes, err := cmdline.DriveNodes(cmdline.VM{ID: m.vm, Config: *conf}, *host, d)
	if err != nil {
		return nil, err
	}
	// What reads as zeros in the source is to be a hole in the copy. Whether the guest may
	// make holes is up to the node above these.
	nodes["discard"] = "unmap"
	if below, ok := nodes["file"].(map[string]any); ok {
		below["discard"] = "unmap"
	}
	return nodes, nil
}

// blockNode is what QEMU tells of a block node.
type blockNode struct {
	Name  string `json:"node-name"`
	Image struct {
		Size int64 `json:"virtual-size"`
	} `json:"image"`
}

func (m *Mirrors) blockNodes(ctx context.Context) ([]blockNode, error) {
	var nodes []blockNode
	err := m.call(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes)
	return nodes, err
}

// trim lets QEMU see no more of a device than what is copied: it does not replace a disk by
// one of another size, and a device, which is made of larger pieces, cannot be cut.
func (m *Mirrors) trim(ctx context.Context, source string, made id.Volume, target map[string]any) error {
	below, ok := target["file"].(map[string]any)
	if !ok || target["driver"] != "raw" || below["driver"] != "host_device" {
		return nil
	}
	info, err := m.s.Storage.Info(ctx, made)
	if err != nil {
		return err
	}
	nodes, err := m.blockNodes(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(nodes, func(n blockNode) bool { return n.Name == source })
	if i >= 0 && nodes[i].Image.Size > 0 && nodes[i].Image.Size < info.Size {
		target["size"] = nodes[i].Image.Size
	}
	return nil
}

// fit makes a target exactly as large as what is copied: volumes are made in whole KiB,
// images that came from elsewhere need not be.
func (m *Mirrors) fit(ctx context.Context, source, target string) error {
	nodes, err := m.blockNodes(ctx)
	if err != nil {
		return err
	}
	sizes := map[string]int64{}
	for _, n := range nodes {
		sizes[n.Name] = n.Image.Size
	}
	if sizes[source] == sizes[target] || sizes[source] == 0 {
		return nil
	}
	return m.call(ctx, "block_resize", map[string]any{"node-name": target, "size": sizes[source]}, nil)
}

// await waits until a job has come to a state, and shows how far it is.
func (m *Mirrors) await(ctx context.Context, job mirrorJob, state string) error {
	var show term.Progress
	defer func() {
		if show != nil {
			show.Done()
		}
	}()
	for {
		now, err := m.job(ctx, job.id)
		switch {
		case err != nil:
			return err
		case now == nil:
			return fmt.Errorf("%s: %w", job.id, qmp.ErrNoJob)
		case now.Error != "":
			return fmt.Errorf("%s: %s", job.id, now.Error)
		}
		if state == "ready" && now.Total > 0 {
			if show == nil {
				show = term.NewProgress(api.StreamsOf(ctx).Out, "", now.Total)
			}
			show.Set(now.Current)
		}
		switch now.Status {
		case state:
			return nil
		case "concluded":
			return fmt.Errorf("%s: %w", job.id, qmp.ErrCancelled)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(mirrorPoll):
		return nil
	}
}

// job looks at a job, nil where QEMU has none of that name.
func (m *Mirrors) job(ctx context.Context, name string) (*qmp.Job, error) {
	var jobs []qmp.Job
	if err := m.call(ctx, "query-jobs", nil, &jobs); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(jobs, func(j qmp.Job) bool { return j.ID == name }); i >= 0 {
		return &jobs[i], nil
	}
	return nil, nil
}

// pivot lets the VM go on with the copies. The nodes it had, which nothing uses then,
// go with their jobs.
func (m *Mirrors) pivot(ctx context.Context, made id.Volume) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// From here on it is shorter to finish than to go back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	for len(m.jobs) > 0 {
		job := m.jobs[0]
		if err := m.call(ctx, "job-complete", map[string]any{"id": job.id}, nil); err != nil {
			return err
		}
		if err := m.await(ctx, job, "concluded"); err != nil {
			return &doubtError{made, err}
		}
		m.jobs = m.jobs[1:]
		_ = m.call(ctx, "job-dismiss", map[string]any{"id": job.id}, nil)
	}
	return m.sweep(ctx)
}

// sweep lets QEMU close the states of volumes that nothing lies on any more.
func (m *Mirrors) sweep(ctx context.Context) error {
	for gone := true; gone; {
		gone = false
		nodes, err := m.blockNodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if len(n.Name) == nodeNameSize && n.Name[0] == 'c' && m.drop(ctx, n.Name) == nil {
				gone = true // those in use are refused
			}
		}
	}
	return nil
}

// Finish ends the copies at one moment, for which the guest's file systems are frozen
// where its agent is there to do that. The VM goes on with its own disks.
func (m *Mirrors) Finish(ctx context.Context) error {
	if len(m.jobs) == 0 {
		return nil
	}
	thaw := m.freeze(ctx)
	defer thaw()
	for _, job := range m.jobs {
		// Of a mirror that has caught up this means that the copy is good.
		if err := m.call(ctx, "block-job-cancel", map[string]any{"device": job.id}, nil); err != nil {
			return err
		}
	}
	for len(m.jobs) > 0 {
		job := m.jobs[0]
		if err := m.await(ctx, job, "concluded"); err != nil {
			return err
		}
		m.jobs = m.jobs[1:]
		_ = m.call(ctx, "job-dismiss", map[string]any{"id": job.id}, nil)
		if err := m.drop(ctx, job.target); err != nil {
			return err
		}
	}
	return nil
}

// drop lets QEMU close what it has copied into.
func (m *Mirrors) drop(ctx context.Context, target string) error {
	return m.call(ctx, "blockdev-del", map[string]any{"node-name": target}, nil)
}

// Close gives up what has not been ended. The VM goes on with its own disks.
func (m *Mirrors) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for _, job := range m.jobs {
		m.cancel(ctx, job.id)
		_ = m.drop(ctx, job.target)
	}
	m.jobs = nil
}

// cancel ends a job, whatever its state.
func (m *Mirrors) cancel(ctx context.Context, name string) {
	_ = m.call(ctx, "block-job-cancel", map[string]any{"device": name, "force": true}, nil)
	for {
		now, err := m.job(ctx, name)
		if err != nil || now == nil {
			return
		}
		if now.Status == "concluded" {
			_ = m.call(ctx, "job-dismiss", map[string]any{"id": name}, nil)
			return
		}
		if pause(ctx) != nil {
			return
		}
	}
}

// reap removes what a copy has left behind whose command died: its job, and nodes that
// belong to no drive.
func (m *Mirrors) reap(ctx context.Context, name string, values schema.Params) error {
	switch old, err := m.job(ctx, name); {
	case err != nil:
		return err
	case old != nil:
		m.cancel(ctx, name)
	}
	known := map[string]bool{}
	for d := range qemu.Drives(values, qemu.AllDrives) {
		known[cmdline.NodeName('f', d)] = true
	}
	for _, job := range m.jobs {
		known[job.target] = true
	}
	nodes, err := m.blockNodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if len(n.Name) == nodeNameSize && n.Name[0] == 'f' && !known[n.Name] {
			_ = m.drop(ctx, n.Name) // refused where it is in use
		}
	}
	return nil
}

// nodeNameSize is how long the names are that [cmdline.NodeName] makes.
const nodeNameSize = 31
