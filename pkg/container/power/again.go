package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

const (
	// rebootFile says that the container has asked for a reboot, and which lock it had then.
	rebootFile = "reboot"
	// hastyFile says how many times in a row the container has asked for it right after its start.
	hastyFile = "hasty-reboots"
)

// A container that asks for a reboot as soon as it runs would keep the node busy for ever. One
// that has lived less than short is hasty; after a few of those each next start waits longer.
const (
	short    = 10 * time.Second
	hastyFew = 5
	restStep = 5 * time.Second
	restMost = 60 * time.Second
)

func (s *Service) rebooting(vmid id.VM) bool {
	_, err := os.Stat(s.path(vmid, rebootFile))
	return err == nil
}

// asksReboot notes that a container that has just ended is to be started anew. doc may be nil.
func (s *Service) asksReboot(vmid id.VM, doc *config.Doc) error {
	hasty := 0
	// LXC writes the file when it starts the container.
	if st, err := os.Stat(lxc.PidFile(s.LXCPath(), vmid.String())); err == nil && s.Now().Sub(st.ModTime()) < short {
		hasty = s.hasty(vmid) + 1
	}
	lock := ""
	if doc != nil {
		lock = doc.Values["lock"]
	}
	return errors.Join(
		os.WriteFile(s.path(vmid, hastyFile), []byte(strconv.Itoa(hasty)), 0o600),
		os.WriteFile(s.path(vmid, rebootFile), []byte(lock), 0o600),
	)
}

// hasty is how many times in a row the container has asked for a reboot right after its start.
func (s *Service) hasty(vmid id.VM) int {
	text, _ := os.ReadFile(s.path(vmid, hastyFile))
	n, _ := strconv.Atoi(string(text))
	return n
}

// rest is how long a container waits that has been hasty so many times in a row.
func rest(hasty int) time.Duration {
	return min(time.Duration(max(hasty-hastyFew, 0))*restStep, restMost)
}

// again begins a task that starts a container that has asked for a reboot, unless somebody has
// started or stopped it meanwhile.
func (s *Service) again(ctx context.Context, vmid id.VM) error {
	asked, err := os.Stat(s.path(vmid, rebootFile))
	if err != nil {
		return nil //nolint:nilerr // it is there no more
	}
	still := func() bool { // it is there, and no other one
		now, err := os.Stat(s.path(vmid, rebootFile))
		return err == nil && now.ModTime().Equal(asked.ModTime())
	}
	for end := time.Now().Add(rest(s.hasty(vmid))); still() && time.Now().Before(end); {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !still() {
		return nil
	}
	had, err := os.ReadFile(s.path(vmid, rebootFile))
	if err != nil {
		return err
	}
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	// What it was locked for when it ran keeps it from nothing; what it has been locked for since
	// then is work that needs it stopped, such as a rollback.
	return s.Restart(ctx, vmid, doc.Values["lock"] == string(had))
}

// StartsAgain tells whether a container that does not run has asked for a reboot, and is about
// to be started anew.
func (s *Service) StartsAgain(ctx context.Context, vmid id.VM) bool {
	running, err := s.Running(ctx, vmid)
	return err == nil && !running && s.rebooting(vmid)
}

// errStays is the error of a container that was to be started anew and no longer is.
var errStays = errors.New("it was about to be started anew, and stays stopped")

// stay keeps a container from being started anew. The caller holds its lock.
func (s *Service) stay(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	ctx, stop := bounded(ctx, endPatience, fmt.Sprintf("the end of CT %d", vmid))
	defer stop()
	if err := remove(s.path(vmid, rebootFile), s.path(vmid, hastyFile)); err != nil {
		return err
	}
	if err := lxc.Gone(ctx, s.LXCPath(), vmid.String()); err != nil {
		return err
	}
	if err := s.letGoStopped(ctx, vmid, doc); err != nil {
		return err
	}
	api.Printf(ctx, "CT %d had asked for a reboot: it stays stopped", vmid)
	return errStays
}
