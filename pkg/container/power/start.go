package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// StartOptions say how a container is started.
type StartOptions struct {
	SkipLock bool
	Debug    bool // show LXC's log, with all its details
}

// startPatience is how long a container may take until its init runs; its volumes may be on
// storages that are slow to mount.
const startPatience = 3 * time.Minute

// Start starts a container.
func (s *Service) Start(ctx context.Context, vmid id.VM, o StartOptions) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("start of CT %d", vmid), func(ctx context.Context) error {
		return s.StartLocked(ctx, vmid, o)
	})
}

// StartLocked is [Service.Start] for a caller that holds the lock of the container.
func (s *Service) StartLocked(ctx context.Context, vmid id.VM, o StartOptions) error {
	doc, err := s.prepare(ctx, vmid, o)
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("start CT %d", vmid)
		return nil
	}
	if err := s.hookScript(ctx, vmid, doc, hook.PreStart); err != nil {
		return err
	}
	if err := s.up(ctx, vmid, doc, o); err != nil {
		return err
	}
	return s.hookScript(ctx, vmid, doc, hook.PostStart)
}

// prepare checks what can be checked, and writes the configuration that LXC reads.
func (s *Service) prepare(ctx context.Context, vmid id.VM, o StartOptions) (*config.Doc, error) {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return nil, err
	}
	if guest.IsTemplate(doc) {
		return nil, errors.New("you can't start a CT if it's a template")
	}
	if err := checkLock(doc, o.SkipLock); err != nil {
		return nil, err
	}
	if err := s.awaitLast(ctx, vmid); err != nil {
		return nil, err
	}
	if len(doc.Pending) > 0 && s.ApplyPending != nil {
		failed := s.ApplyPending(ctx, vmid, doc)
		// What holds is noted whatever else failed: volumes may have been made for it.
		if err := errors.Join(failed, s.Save(ctx, vmid, doc)); err != nil {
			return nil, err
		}
	}
	if err := check(doc); err != nil {
		return nil, err
	}
	notes, err := s.WriteConfig(ctx, vmid, doc)
	for _, note := range notes {
		api.Printf(ctx, "%s\n", note)
	}
	return doc, err
}

// check finds what keeps a container from starting in its configuration.
func check(doc *config.Doc) error {
	conf, raw := container.Typed(doc.Values), container.RawLines(doc.Values)
	ids, err := mapOf(conf, raw)
	if err != nil {
		return err
	}
	for _, p := range conf.Points() {
		if is(p.Quota) && !ids.Privileged() {
			return errors.New("Quotas are not supported by unprivileged containers.") //nolint:staticcheck // upstream's text
		}
	}
	_, missing := exec.LookPath("newuidmap")
	return idmap.CheckSubIDs("/", ids, missing == nil)
}

// awaitLast refuses a container that runs. One that is about to be gone is waited for: it may
// have asked for this very start.
func (s *Service) awaitLast(ctx context.Context, vmid id.VM) error {
	if !s.rebooting(vmid) {
		return s.CheckStopped(ctx, vmid)
	}
	ctx, stop := bounded(ctx, endPatience, fmt.Sprintf("the end of CT %d", vmid))
	defer stop()
	return errors.Join(lxc.Gone(ctx, s.LXCPath(), vmid.String()), remove(s.path(vmid, rebootFile)))
}

// up brings the container up, or leaves nothing.
func (s *Service) up(ctx context.Context, vmid id.VM, doc *config.Doc, o StartOptions) error {
	volumes, err := volumesOf(container.Typed(doc.Values))
	if err != nil {
		return err
	}
	if err := s.Storage.ActivateVolumes(ctx, "", volumes...); err != nil {
		return err
	}
	if err := s.Clear(ctx, vmid); err != nil {
		return err
	}
	unattend, err := s.attend(vmid)
	if err != nil {
		return err
	}
	err = s.launch(ctx, vmid, doc, o)
	if err == nil {
		if err := s.allowQuota(ctx, vmid); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	if err = errors.Join(err, unattend()); err == nil {
		return nil
	}
	undo, stop := bounded(context.WithoutCancel(ctx), endPatience, "clearing up")
	defer stop()
	if failed := errors.Join(s.Clear(undo, vmid), s.Storage.DeactivateVolumes(undo, "", volumes...)); failed != nil {
		api.Warnf(ctx, "%v", failed)
	}
	return err
}

// launch runs lxc-start, and says why it failed.
func (s *Service) launch(ctx context.Context, vmid id.VM, doc *config.Doc, o StartOptions) error {
	log := s.LogFile(vmid)
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return err
	}
	// Only what this start says is of interest.
	if err := remove(log); err != nil {
		return err
	}
	m, err := s.Machine(ctx)
	if err != nil {
		return err
	}
	conf := container.Typed(doc.Values)
	start := lxc.Start{Name: vmid.String(), Path: s.LXCPath(), Log: log, Env: append(slices.Clone(s.Env), SpaceVariable+"="+mountSpace())}
	start.Init = lxcconf.Program(m.LXC, conf, container.RawLines(doc.Values))
	if s.Systemd {
		start.Unit = fmt.Sprintf("pve-container@%d.service", vmid)
	}
	if o.Debug || is(conf.Debug) {
		start.Level = "TRACE"
	}
	ctx, stop := bounded(ctx, startPatience, fmt.Sprintf("start of CT %d", vmid))
	defer stop()
	err = start.Run(ctx, s.Run)
	fault := s.relay(ctx, vmid)
	if o.Debug {
		showLog(ctx, log)
	}
	switch failed, ok := errors.AsType[*lxc.StartError](err); {
	case err == nil:
		return nil
	case fault != "":
		return fmt.Errorf("startup for container '%d' failed: %s", vmid, fault)
	case ok && len(failed.Faults) > 0:
		return fmt.Errorf("startup for container '%d' failed: %s (all of it is in %s)", vmid, strings.Join(failed.Faults[:min(3, len(failed.Faults))], "; "), log)
	case ok:
		return fmt.Errorf("startup for container '%d' failed: %w", vmid, failed.Err)
	}
	return err
}

// showLog shows LXC's log.
func showLog(ctx context.Context, path string) {
	lines, err := lxc.ReadLog(path, 0)
	if err != nil {
		api.Warnf(ctx, "%v", err)
	}
	for _, line := range lines {
		api.Printf(ctx, "%s\n", line)
	}
}
