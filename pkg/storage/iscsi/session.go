package iscsi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// port is where targets are asked when nothing else is said.
const port = "3260"

// What iscsiadm leaves with when nothing is wrong.
const (
	sessionExists = 15
	nothingFound  = 21
)

var recordLine = pattern.New(`^(\S+:\d+),\S+\s+(\S+)\s*$`)

// parseRecords reads what iscsiadm tells of nodes, and of what it has discovered: the
// portals of targets.
//
//	192.0.2.5:3260,1 iqn.2003-01.org.example:disks
func parseRecords(text string) map[string][]string {
	found := map[string][]string{}
	for line := range strings.Lines(text) {
		m := recordLine.FindStringSubmatch(strings.TrimSpace(line))
		if m != nil && !slices.Contains(found[m[2]], m[1]) {
			found[m[2]] = append(found[m[2]], m[1])
		}
	}
	return found
}

// iscsiadm returns the command with the arguments.
func iscsiadm(args ...string) run.Cmd {
	return run.Cmd{Path: "iscsiadm", Args: args, Env: []string{"LC_ALL=C"}, Grace: time.Second}
}

// ask runs iscsiadm, which waits long for those that do not answer. That nothing was
// found is an empty answer.
func ask(ctx context.Context, r run.Runner, patience time.Duration, c run.Cmd) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("gave up after %s", patience))
	defer cancel()
	out, err := run.OutputOf(ctx, r, c)
	switch {
	case run.ExitCode(err) == nothingFound:
		return "", nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("no iscsi support - please install open-iscsi: %w", err)
	}
	return string(out), err
}

// look asks for something that changes nothing.
func (p *pool) look(ctx context.Context, args ...string) (string, error) {
	c := iscsiadm(args...)
	c.ReadOnly = true
	return ask(ctx, p.Runner, p.patience, c)
}

// do changes something. A dry run is told of it.
func (p *pool) do(ctx context.Context, args ...string) (string, error) {
	return p.doWithin(ctx, p.patience, args...)
}

func (p *pool) doWithin(ctx context.Context, patience time.Duration, args ...string) (string, error) {
	c := iscsiadm(args...)
	if told := plan.From(ctx); told != nil {
		told.Stepf("%s", c)
		return "", nil
	}
	return ask(ctx, p.Runner, patience, c)
}

// orConfigured returns the portals there are records of, or that of the configuration
// where there are none yet.
func (p *pool) orConfigured(known []string) []string {
	if len(known) == 0 {
		return []string{p.portal}
	}
	return known
}

// records returns the portals of the target that open-iscsi has records of.
func (p *pool) records(ctx context.Context) ([]string, error) {
	text, err := p.look(ctx, "--mode", "node")
	if err != nil {
		return nil, fmt.Errorf("records of iscsi targets: %w", err)
	}
	return parseRecords(text)[p.target], nil
}

// reachable returns the portals that accept connections, and what is wrong with the
// others. They are asked side by side.
func reachable(ctx context.Context, portals []string) (there []string, err error) {
	errs := make([]error, len(portals))
	var wg sync.WaitGroup
	for i, portal := range portals {
		wg.Go(func() { errs[i] = storage.Reach(ctx, portal, port) })
	}
	wg.Wait()
	for i, portal := range portals {
		if errs[i] == nil {
			there = append(there, portal)
		}
	}
	return there, errors.Join(errs...)
}

// login makes a session by each of the portals that answers, and waits for the devices.
func (p *pool) login(ctx context.Context) error {
	known, err := p.records(ctx)
	if err != nil {
		return err
	}
	there, err := reachable(ctx, p.orConfigured(known))
	if len(there) == 0 {
		return fmt.Errorf("storage '%s' is not online: %w", p.ID, err)
	}
	there, err = p.discover(ctx, there, known)
	if err != nil {
		return fmt.Errorf("storage '%s' is not online: %w", p.ID, err)
	}
	done, err := p.loginBy(ctx, there)
	if done == 0 && err != nil {
		if len(known) == 0 {
			// A record keeps the password there was when it was made.
			_, _ = p.do(context.WithoutCancel(ctx), "--mode", "node", "--targetname", p.target, "--op", "delete")
		}
		return fmt.Errorf("storage '%s' is not online: log in to target '%s': %w", p.ID, p.target, err)
	}
	if err != nil {
		api.Warnf(ctx, "storage '%s': log in to target '%s': %v", p.ID, p.target, err)
	}
	if plan.From(ctx) != nil {
		return nil
	}
	return p.appear(ctx)
}

// appear waits for the devices of a target that was just logged in to. The kernel looks
// for LUNs a moment after, so it is told to, which returns when it has; then udev gives
// them their names.
func (p *pool) appear(ctx context.Context) error {
	p.rescan(ctx, p.host.sessions(p.target), 0, p.patience)
	if !p.named(ctx) { // the others can be used
		api.Warnf(ctx, "storage '%s': LUNs without a name in /dev/disk/by-id are left out", p.ID)
	}
	return context.Cause(ctx)
}

// named waits until udev has given names to the devices of the target and tells whether
// it has. A disk that is seen by several sessions has one name, which is that of one of
// its devices where multipath does not join them.
func (p *pool) named(ctx context.Context) bool {
	return p.await(ctx, naming, func() bool {
		list := p.host.devices(p.target)
		there := map[string]bool{}
		for _, d := range list {
			there[d.wwid] = there[d.wwid] || d.wwid != "" && d.stable != ""
		}
		return !slices.ContainsFunc(list, func(d device) bool { return d.stable == "" && !there[d.wwid] })
	})
}

// discover asks the portals for all of the target, until one knows it, and makes records
// of those that are new. Records that are there stay as they are: they may have
// passwords. It returns the portals of the target that accept connections.
func (p *pool) discover(ctx context.Context, there, known []string) ([]string, error) {
	if plan.From(ctx) != nil {
		_, err := p.do(ctx, discovery(there[0], "new").Args...)
		return there, err
	}
	mine, err := p.sendTargets(ctx, there)
	switch {
	case err == nil:
	case len(known) == 0:
		return nil, err
	default: // some targets do not tell of themselves without a password
		api.Warnf(ctx, "storage '%s': %v", p.ID, err)
	}
	for _, portal := range known {
		if !slices.Contains(mine, portal) {
			mine = append(mine, portal)
		}
	}
	mine, err = reachable(ctx, mine)
	if len(mine) == 0 {
		return nil, err
	}
	// Whoever activates tries again: the daemon need not.
	if _, err := p.do(ctx, "--mode", "node", "--targetname", p.target, "--op", "update",
		"--name", "node.session.initial_login_retry_max", "--value", "0"); err != nil {
		api.Warnf(ctx, "storage '%s': %v", p.ID, err)
	}
	return mine, nil
}

// sendTargets asks one portal after the other for those of the target, until one knows it.
func (p *pool) sendTargets(ctx context.Context, there []string) ([]string, error) {
	var errs []error
	for _, portal := range there {
		text, err := p.do(ctx, discovery(portal, "new").Args...)
		if err != nil {
			errs = append(errs, fmt.Errorf("discovery at portal '%s': %w", portal, err))
			continue
		}
		if mine := parseRecords(text)[p.target]; len(mine) > 0 {
			return mine, nil
		}
		errs = append(errs, fmt.Errorf("target '%s' is not there at portal '%s', or not for this host", p.target, portal))
	}
	return nil, errors.Join(errs...)
}

func discovery(portal, operation string) run.Cmd {
	return iscsiadm("--mode", "discovery", "--type", "sendtargets", "--portal", portal, "--op", operation)
}

// loginBy logs in by each of the portals and tells by how many that went well.
func (p *pool) loginBy(ctx context.Context, portals []string) (done int, err error) {
	var errs []error
	// The daemon tries for a quarter of a minute, and has the kernel look for LUNs then.
	patience := 3 * p.patience
	for _, portal := range portals {
		_, err := p.doWithin(ctx, patience, "--mode", "node", "--targetname", p.target, "--portal", portal, "--login")
		if err == nil || run.ExitCode(err) == sessionExists { // another was faster
			done++
			continue
		}
		errs = append(errs, fmt.Errorf("portal '%s': %w", portal, err))
	}
	return done, errors.Join(errs...)
}

// logout ends all sessions with the target.
func (p *pool) logout(ctx context.Context) error {
	if _, err := p.do(ctx, "--mode", "node", "--targetname", p.target, "--logout"); err != nil {
		return fmt.Errorf("storage '%s': log out of target '%s': %w", p.ID, p.target, err)
	}
	return nil
}

const (
	between = 10 * time.Second // how long it is enough to have looked for LUNs once
	stuck   = 2 * time.Second  // when a look at them is left behind
	naming  = 30 * time.Second // how long udev may take with what the kernel has found
)

// refresh looks for new LUNs and portals, if that was not done a moment ago. What fails
// is told: the target can be used.
func (p *pool) refresh(ctx context.Context, sessions []session) error {
	if plan.From(ctx) != nil || !p.rescan(ctx, sessions, between, stuck) {
		return nil
	}
	if _, err := p.loginByOthers(ctx, sessions); err != nil {
		api.Warnf(ctx, "storage '%s': log in to target '%s': %v", p.ID, p.target, err)
	}
	return nil
}

// loginByOthers logs in by the portals that there are no sessions by, if they answer, and
// tells by how many that went well.
func (p *pool) loginByOthers(ctx context.Context, sessions []session) (done int, err error) {
	portals, err := p.records(ctx)
	if err != nil {
		return 0, err
	}
	without := slices.DeleteFunc(portals, func(portal string) bool {
		return slices.ContainsFunc(sessions, func(s session) bool { return s.portal == portal })
	})
	there, _ := reachable(ctx, without) // the others may be down for long
	return p.loginBy(ctx, there)
}

// rescan lets the kernel look for LUNs and tells whether it did: not where somebody did
// less than age ago or is at it. The sessions are looked at side by side, so that one
// which hangs does not keep the others.
func (p *pool) rescan(ctx context.Context, sessions []session, age, patience time.Duration) bool {
	alive := slices.DeleteFunc(slices.Clone(sessions), func(s session) bool { return !s.alive })
	var looks []func() error
	for _, s := range alive {
		f, err := p.turn(s, age)
		if err != nil {
			api.Warnf(ctx, "%v", err)
		}
		if f == nil {
			continue
		}
		looks = append(looks, func() error {
			defer f.Close() //nolint:errcheck // its time is what counts
			c := iscsiadm("--mode", "session", "--sid", s.id, "--rescan")
			c.ExtraFiles = []*os.File{f}
			_, err := ask(ctx, p.Runner, p.patience, c)
			return err
		})
	}
	if len(looks) == 0 {
		return len(alive) == 0
	}
	err := bounded(ctx, patience, func() error {
		errs := make([]error, len(looks))
		var wg sync.WaitGroup
		for i, look := range looks {
			wg.Go(func() { errs[i] = look() })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	if err != nil {
		api.Warnf(ctx, "storage '%s': look for new LUNs: %v", p.ID, err)
	}
	return true
}

// turn returns the lock for who looks for the LUNs of a session, nil where somebody has it
// or had it less than age ago. A target that hangs keeps the program in the kernel, where
// nothing ends it: the program holds the lock for so long, so that there is never a second
// one.
func (p *pool) turn(s session, age time.Duration) (*os.File, error) {
	path := filepath.Join(p.Root, "run/lock/pve-manager/pve-iscsi-rescan-"+string(p.ID)+"-"+s.portal)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil, f.Close()
	}
	st, err := f.Stat()
	if err == nil {
		if since := time.Since(st.ModTime()); st.Size() == 0 || since < 0 || since >= age {
			_, err = f.WriteAt([]byte("1"), 0)
			return f, err
		}
	}
	return nil, errors.Join(err, f.Close())
}

// await asks until it is so, with patience, and tells whether it is.
func (p *pool) await(ctx context.Context, patience time.Duration, so func() bool) bool {
	const step = 200 * time.Millisecond // to ask costs those who are awaited
	late := time.Now().Add(patience)
	for !so() {
		if time.Now().After(late) || ctx.Err() != nil {
			return false
		}
		time.Sleep(step)
	}
	return true
}

// Found is a target that a portal has told of.
type Found struct {
	Target string `pve:"target" doc:"Name of the target."`
	Portal string `pve:"portal" doc:"Addresses at which it can be reached, separated by commas."`
}

// Scan asks a portal for its targets. Nothing is kept of the answer.
func Scan(ctx context.Context, r run.Runner, portal string) ([]Found, error) {
	if err := storage.Reach(ctx, portal, port); err != nil {
		return nil, fmt.Errorf("portal '%s' is not reachable: %w", portal, err)
	}
	c := discovery(portal, "nonpersistent")
	c.ReadOnly = true
	text, err := ask(ctx, r, patience, c)
	if err != nil {
		return nil, fmt.Errorf("discovery at portal '%s': %w", portal, err)
	}
	var found []Found
	targets := parseRecords(text)
	for _, target := range slices.Sorted(maps.Keys(targets)) {
		found = append(found, Found{Target: target, Portal: strings.Join(targets[target], ",")})
	}
	return found, nil
}
