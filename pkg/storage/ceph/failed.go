package ceph

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// What Ceph's programs end with.
const (
	codeMissing  = 2
	codeDenied   = 13
	codeBusy     = 16
	codeExists   = 17
	codeTimedOut = 110
	codeQuota    = 122
)

// Missing tells that what a program was to act on is not there.
func Missing(err error) bool { return run.ExitCode(err) == codeMissing }

// Busy tells that what a program was to act on is in use.
func Busy(err error) bool { return run.ExitCode(err) == codeBusy }

// Exists tells that what a program was to make is there.
func Exists(err error) bool { return run.ExitCode(err) == codeExists }

// NoQuota tells that a pool is full, as far as it may be.
func NoQuota(err error) bool { return run.ExitCode(err) == codeQuota }

// TimedOut tells that the cluster did not answer in time.
func TimedOut(err error) bool {
	e, ok := errors.AsType[*run.Error](err)
	return ok && (e.ExitCode == codeTimedOut || errors.Is(e.Err, context.DeadlineExceeded) || strings.HasSuffix(strings.TrimSpace(e.Stderr), "timed out"))
}

// stamp is what a library puts before its words.
var stamp = pattern.New(`^\d{4}-\d{2}-\d{2}T?\s?[\d:.]+\S*\s+[0-9a-f]+\s+-?\d+\s+(?:librbd: )?`)

// Said returns the last of what a program has said, without what its library puts before.
func Said(err error) string {
	e, ok := errors.AsType[*run.Error](err)
	if !ok {
		return ""
	}
	last := ""
	for line := range strings.Lines(e.Stderr) {
		if line = strings.TrimSpace(line); line != "" {
			last = stamp.ReplaceAllString(line, "")
		}
	}
	return last
}

// refused tells that the monitors do not let us in. Where it is not clear which protocol
// a port speaks, the library goes on trying until it has no more time.
func refused(e *run.Error) bool {
	return strings.Contains(e.Stderr, "handle_auth_bad_method") || e.ExitCode == codeDenied && strings.Contains(e.Stderr, "connect")
}

// where says where the cluster is.
func (a *Access) where() string {
	if a.Managed() {
		return "of " + a.Config()
	}
	return "at " + a.Hosts(", ")
}

// Failed says in upstream's way what did not work: the last line of the program. Where
// the cluster does not answer, it says so, and where it was looked for.
func (a *Access) Failed(what string, err error) error {
	e, ok := errors.AsType[*run.Error](err)
	switch {
	case err == nil:
		return nil
	case !ok || e.ExitCode < 0 && !TimedOut(err):
		return fmt.Errorf("%s: %w", what, err)
	case refused(e):
		why := "no key of it is here"
		if key := a.Key(); key != "" {
			why = "is the key in " + key + " right?"
		}
		return storage.Told(fmt.Sprintf("%s: the Ceph cluster %s refuses client.%s: %s", what, a.where(), a.User, why), err)
	case TimedOut(err):
		return storage.Told(fmt.Sprintf("%s: the Ceph cluster %s does not answer in time: %s", what, a.where(), Said(err)), err)
	}
	if said := Said(err); said != "" {
		return storage.Told(what+": "+said, err)
	}
	return storage.Told(e.Upstream(), err)
}
