package snapshot

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// chained is a volume whose snapshots are volumes, and the option by which the VM has it.
type chained struct {
	key    string
	volume id.Volume
}

// snapshotChain keeps the state of a volume that QEMU has open. The storage gives the file the
// name of the state and puts an empty image on top of it in its place; QEMU, which has written to
// the file all the time, goes on with that image. In between it writes to the state: should the
// command die then, the file is made the volume again, see [machine.settle].
func (m *machine) snapshotChain(ctx context.Context, v chained, name string) error {
	if p := plan.From(ctx); p != nil {
		if err := m.Storage.SnapshotOpen(ctx, v.volume, name); err != nil {
			return err
		}
		return m.call(ctx, "blockdev-snapshot", nil, nil)
	}
	c, err := m.chain(ctx, v)
	if err != nil {
		return err
	}
	api.Printf(ctx, "creating a new current volume with %s as backing snapshot\n", name)
	if err := m.Storage.SnapshotOpen(ctx, v.volume, name); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := c.climb(ctx); err != nil {
		return errors.Join(err, m.Storage.ReplaceBySnapshot(ctx, v.volume, name))
	}
	if c.links, err = m.Storage.Chain(ctx, v.volume); err == nil {
		err = c.renew(ctx)
	}
	if err != nil { // the snapshot is taken, and the next command tries again
		api.Warnf(ctx, "%v", err)
	}
	return nil
}

// climb has QEMU write to the volume, on top of what it has written to until now.
func (c *chain) climb(ctx context.Context) error {
	path, serial := c.links[0].Path, c.serial()
	options := c.open(path, chainNode('c', c.drive, path, serial), chainNode('d', c.drive, path, serial), false)
	options["backing"] = nil // that is what QEMU has
	if err := c.m.call(ctx, "blockdev-add", options, nil); err != nil {
		return err
	}
	args := map[string]any{"node": c.nodes[0].name, "overlay": options["node-name"]}
	if err := c.m.call(ctx, "blockdev-snapshot", args, nil); err != nil {
		return errors.Join(err, c.del(ctx, fmt.Sprint(options["node-name"])))
	}
	return nil
}

// deleteChain forgets a state of a volume that QEMU has open.
func (m *machine) deleteChain(ctx context.Context, v chained, name string) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("have QEMU of VM %d merge snapshot '%s' of %s", m.vmid, name, v.volume)
		return nil
	}
	c, err := m.chain(ctx, v)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.links, func(l storage.Link) bool { return l.Snapshot == name })
	if i < 0 { // it was merged already
		return m.Storage.DeleteSnapshot(ctx, v.volume, name, true)
	}
	if err := c.readable(ctx); err != nil {
		return err
	}
	if i < len(c.links)-1 {
		return c.stream(ctx, v, i)
	}
	if err := m.Storage.WidenSnapshot(ctx, v.volume, name); err != nil {
		return err
	}
	return c.commit(ctx, v, i)
}

// stream has what lies above a state hold what the state holds.
func (c *chain) stream(ctx context.Context, v chained, i int) error {
	name := c.links[i].Snapshot
	api.Printf(ctx, "stream intermediate snapshot %s to %s\n", name, called(c.links[i-1]))
	if err := c.canStream(ctx, c.nodes[i-1], name); err != nil {
		return err
	}
	job := "stream-" + device(v.key)
	args := map[string]any{
		"job-id": job, "device": c.nodes[i-1].name, "base-node": c.nodes[i+1].name,
		"backing-file": filepath.Base(c.links[i+1].Path), "auto-dismiss": false,
	}
	above := c.nodes[i-1]
	if i > 1 { // else it is written to anyway
		if err := c.writable(ctx, above, true); err != nil {
			return err
		}
	}
	still := context.WithoutCancel(ctx)
	if err := c.run(ctx, job, "block-stream", args); err != nil {
		return errors.Join(err, c.readable(still))
	}
	ctx = still
	if i > 1 {
		if err := c.writable(ctx, above, false); err != nil {
			return err
		}
	}
	if err := c.sweep(ctx); err != nil {
		return err
	}
	return c.m.Storage.DeleteSnapshot(ctx, v.volume, name, true)
}

// canStream fails where QEMU would end, and the guest with it: before 8.2 it cannot copy into images
// with extended_l2, which others make.
func (c *chain) canStream(ctx context.Context, above node, name string) error {
	if !above.extended {
		return nil
	}
	var version struct {
		QEMU struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
		} `json:"qemu"`
	}
	if err := c.m.call(ctx, "query-version", nil, &version); err != nil {
		return err
	}
	if q := version.QEMU; q.Major < 8 || q.Major == 8 && q.Minor < 2 {
		return fmt.Errorf("snapshot '%s' cannot be removed while VM %d runs: QEMU %d.%d cannot merge it into an image with extended_l2 (8.2 can): stop the VM first", name, c.m.vmid, q.Major, q.Minor)
	}
	return nil
}

// commit writes what lies above the oldest state into that, which then takes its place.
func (c *chain) commit(ctx context.Context, v chained, i int) error {
	base, above := c.nodes[i], c.links[i-1]
	name := c.links[i].Snapshot
	api.Printf(ctx, "commit %s to first snapshot %s\n", called(above), name)
	job := "commit-" + device(v.key)
	// Nothing of it is to be opened again by its name once that is another's.
	if err := c.writable(ctx, base, true); err != nil {
		return err
	}
	still := context.WithoutCancel(ctx)
	args := map[string]any{
		"job-id": job, "device": device(v.key), "top-node": c.nodes[i-1].name, "base-node": base.name, "auto-dismiss": false,
	}
	if above.Snapshot == "" {
		if err := c.pivot(ctx, v, job, args, name); err != nil {
			return errors.Join(err, c.readable(still))
		}
		return nil
	}
	args["backing-file"] = filepath.Base(above.Path) // as it is: the file will be another
	if err := c.run(ctx, job, "block-commit", args); err != nil {
		return errors.Join(err, c.readable(still))
	}
	if err := errors.Join(c.writable(still, base, false), c.sweep(still)); err != nil {
		return err
	}
	if err := c.m.Storage.ReplaceBySnapshot(still, v.volume, name); err != nil {
		return err
	}
	var err error
	if c.links, err = c.m.Storage.Chain(still, v.volume); err == nil {
		err = c.readable(still)
	}
	return err
}

// readable gives QEMU anew what the volume lies on, to be read. A guest with a thread for the disk
// holds still meanwhile: QEMU before 9.0 ends when nodes go from one thread to another in it.
func (c *chain) readable(ctx context.Context) error {
	if err := c.look(ctx); err != nil {
		return err
	}
	if c.drive.IOThread == nil || !*c.drive.IOThread || len(c.links) == 1 || c.fresh() {
		return c.renew(ctx)
	}
	return c.m.held(ctx, func(ctx context.Context) error { return c.renew(ctx) })
}

// held runs fn while the guest holds still.
func (m *machine) held(ctx context.Context, fn func(context.Context) error) (err error) {
	ctx = context.WithoutCancel(ctx)
	var status qmp.Status
	if err := m.call(ctx, "query-status", nil, &status); err != nil {
		return err
	}
	if err := m.note(m.vmid, hold{Runs: status.Running}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.release(ctx, m.vmid)) }()
	if err := m.call(ctx, "stop", nil, nil); err != nil {
		return err
	}
	return fn(ctx)
}

// pivot merges the volume into its only state and has QEMU go on with that. From the moment
// when it does until the file has the name of the volume, the guest holds still: what it would
// write is not in the file with that name.
func (c *chain) pivot(ctx context.Context, v chained, job string, args map[string]any, name string) error {
	m := c.m
	if err := c.begin(ctx, job, "block-commit", args); err != nil {
		return err
	}
	if err := c.await(ctx, job, "ready"); err != nil {
		c.cancel(ctx, job)
		return err
	}
	err := m.held(ctx, func(ctx context.Context) error {
		if err := m.call(ctx, "job-complete", map[string]string{"id": job}, nil); err != nil {
			return err
		}
		if err := c.await(ctx, job, "concluded"); err != nil {
			return err
		}
		if err := c.sweep(ctx); err != nil {
			return err
		}
		return m.Storage.ReplaceBySnapshot(ctx, v.volume, name)
	})
	if err != nil {
		c.cancel(ctx, job)
	}
	return err
}

// settle puts right what commands have left behind that died: where QEMU has a state open and
// not what the storage has on top of it, it was about to go on with the one or has just done so
// with the other. What it has open is what counts, and takes the place. It tells whether QEMU
// has the volume open at all.
func (m *machine) settle(ctx context.Context, v chained) (bool, error) {
	if err := m.reap(ctx, v.key); err != nil {
		return false, err
	}
	for {
		links, err := m.Storage.Chain(ctx, v.volume)
		if err != nil {
			return false, err
		}
		open, err := m.opened(links)
		if err != nil {
			return false, err
		}
		i := 0
		for i < len(links)-1 && (open[i] || !open[i+1]) {
			i++
		}
		if i >= len(links)-1 {
			return slices.Contains(open, true), nil
		}
		api.Printf(ctx, "%s: QEMU uses the file of snapshot '%s' as '%s': giving it that place\n", v.volume, links[i+1].Snapshot, called(links[i]))
		if err := m.Storage.ReplaceBySnapshot(ctx, v.volume, links[i+1].Snapshot); err != nil {
			return false, err
		}
	}
}

// reap ends the jobs of a command that died, and lets QEMU close what they have used.
func (m *machine) reap(ctx context.Context, key string) error {
	c := &chain{m: m}
	for _, name := range []string{"stream-" + device(key), "commit-" + device(key)} {
		job, err := c.job(ctx, name)
		if err != nil {
			return err
		}
		if job != nil {
			c.cancel(ctx, name)
		}
	}
	return m.sweep(ctx)
}

// settleAll does that for all volumes of a VM.
func (s *Service) settleAll(ctx context.Context, vmid id.VM, volumes []guest.Volume) error {
	m := &machine{Service: s, vmid: vmid}
	for _, v := range volumes {
		volume, err := id.ParseVolume(v.ID)
		if err != nil {
			continue
		}
		if _, _, err := m.chainedOpen(ctx, v.Key, volume); err != nil {
			return err
		}
	}
	return nil
}

// chainedOpen tells whether snapshots of a volume are volumes, and a running QEMU has it open.
// What a command has left behind that died is put right before.
func (m *machine) chainedOpen(ctx context.Context, key string, volume id.Volume) (chained, bool, error) {
	is, err := m.Storage.Chained(ctx, volume)
	if err != nil || !is {
		return chained{}, false, err
	}
	c := chained{key, volume}
	byQEMU, err := m.insideQEMU(ctx, key, volume)
	if byQEMU && plan.From(ctx) == nil {
		byQEMU, err = m.settle(ctx, c)
	}
	return c, byQEMU, err
}

// called is how users know a part of a chain.
func called(l storage.Link) string {
	if l.Snapshot == "" {
		return "current"
	}
	return l.Snapshot
}

// begin starts a job.
func (c *chain) begin(ctx context.Context, job, command string, args map[string]any) error {
	if err := c.m.call(ctx, command, args, nil); err != nil {
		return fmt.Errorf("%s: %w", job, err)
	}
	return nil
}

// run starts a job and waits for its end. Where the user has had enough, it is cancelled.
func (c *chain) run(ctx context.Context, job, command string, args map[string]any) error {
	if err := c.begin(ctx, job, command, args); err != nil {
		return err
	}
	if err := c.await(ctx, job, "concluded"); err != nil {
		c.cancel(ctx, job)
		return err
	}
	return nil
}

// jobPoll is how often a job is looked at.
const jobPoll = 100 * time.Millisecond

// await waits until a job has come to a state, and tells how far it is.
func (c *chain) await(ctx context.Context, name, state string) error {
	said := int64(-1)
	for {
		job, err := c.job(ctx, name)
		switch {
		case err != nil:
			return err
		case job == nil:
			return fmt.Errorf("%s: %w", name, qmp.ErrNoJob)
		case job.Error != "":
			return fmt.Errorf("%s: %s", name, job.Error)
		case job.Status == state && state == "concluded":
			return c.m.call(ctx, "job-dismiss", map[string]string{"id": name}, nil)
		case job.Status == state:
			return nil
		case job.Status == "concluded":
			return fmt.Errorf("%s: %w", name, qmp.ErrCancelled)
		}
		if job.Total > 0 {
			if tenth := job.Current * 10 / job.Total; tenth > said {
				said = tenth
				api.Printf(ctx, "%s: transferred %d of %d bytes (%d%%)\n", name, job.Current, job.Total, job.Current*100/job.Total)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(jobPoll):
		}
	}
}

func (c *chain) job(ctx context.Context, name string) (*qmp.Job, error) {
	var jobs []qmp.Job
	if err := c.m.call(ctx, "query-jobs", nil, &jobs); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(jobs, func(j qmp.Job) bool { return j.ID == name }); i >= 0 {
		return &jobs[i], nil
	}
	return nil, nil
}

// jobPatience is how long a job may take to be gone.
const jobPatience = time.Minute

// cancel ends a job, whatever its state.
func (c *chain) cancel(ctx context.Context, name string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), jobPatience)
	defer stop()
	_ = c.m.call(ctx, "block-job-cancel", map[string]any{"device": name, "force": true}, nil)
	for {
		job, err := c.job(ctx, name)
		if err != nil || job == nil {
			return
		}
		if job.Status == "concluded" {
			_ = c.m.call(ctx, "job-dismiss", map[string]string{"id": name}, nil)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jobPoll):
		}
	}
}
