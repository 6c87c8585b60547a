package power

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// LXC keeps what its hooks say to itself. So they leave it in files, for the command that waits
// for them.
const (
	saidFile     = "hooks.log"   // what hooks, and the hook script, print
	faultFile    = "hooks.error" // why one has failed
	attendedFile = "attended"    // the process that waits
)

// attend tells hooks that this process waits for what they do, and clears away what those of
// another time said. The returned function ends that.
func (s *Service) attend(vmid id.VM) (func() error, error) {
	if err := os.MkdirAll(s.Dir(vmid), 0o755); err != nil {
		return nil, err
	}
	file := s.path(vmid, attendedFile)
	err := errors.Join(
		remove(s.path(vmid, saidFile), s.path(vmid, faultFile)),
		os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o600),
	)
	return func() error { return remove(file) }, err
}

// attended tells whether a command waits for the hook that we are.
func (s *Service) attended(vmid id.VM) bool {
	text, err := os.ReadFile(s.path(vmid, attendedFile))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(string(text))
	return err == nil && run.Alive(pid)
}

// relay tells the user what the hooks have said, and returns why one has failed, empty where
// none has.
func (s *Service) relay(ctx context.Context, vmid id.VM) (fault string) {
	if f, err := os.Open(s.path(vmid, saidFile)); err == nil {
		_, _ = io.Copy(api.StreamsOf(ctx).Out, f)
		f.Close()
	}
	text, _ := os.ReadFile(s.path(vmid, faultFile))
	if err := remove(s.path(vmid, saidFile), s.path(vmid, faultFile)); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return strings.TrimSpace(string(text))
}

// saying runs a hook with its words going to the file for the command that waits.
func (s *Service) saying(ctx context.Context, vmid id.VM, phase string, fn func(context.Context) error) error {
	out, err := os.OpenFile(s.path(vmid, saidFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	err = fn(api.WithStreams(ctx, api.Streams{Out: out, Err: out}))
	if err == nil {
		return nil
	}
	if failed := os.WriteFile(s.path(vmid, faultFile), []byte(err.Error()+"\n"), 0o600); failed != nil {
		fmt.Fprintf(out, "%s: %v\n", phase, err)
	}
	return err
}
