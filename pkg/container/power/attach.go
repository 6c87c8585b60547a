package power

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// attachable makes sure that something can be run in a container.
func (s *Service) attachable(ctx context.Context, vmid id.VM) (*container.Config, error) {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return nil, err
	}
	running, err := s.Running(ctx, vmid)
	if err == nil && !running {
		err = fmt.Errorf("container '%d' not running!", vmid) //nolint:staticcheck // upstream's text
	}
	return container.Typed(doc.Values), err
}

// Exec returns the command line that runs a program in a container, the shell of root where
// none is given. With keepEnv it gets our environment, else that of the container.
func (s *Service) Exec(ctx context.Context, vmid id.VM, keepEnv bool, program ...string) ([]string, error) {
	if _, err := s.attachable(ctx, vmid); err != nil {
		return nil, err
	}
	// In one that holds still, nothing would ever happen.
	if frozen, err := s.LXC.Frozen(ctx, vmid.String()); err == nil && frozen {
		return nil, fmt.Errorf("CT %d is suspended: resume it first", vmid)
	}
	return lxc.Attach{Name: vmid.String(), Path: s.LXCPath(), KeepEnv: keepEnv, Args: program}.Command(), nil
}

// Console returns the command line that shows the console of a container, of the kind that
// its configuration says. escape is the key that begins the sequence to leave it.
func (s *Service) Console(ctx context.Context, vmid id.VM, escape string) ([]string, error) {
	conf, err := s.attachable(ctx, vmid)
	if err != nil {
		return nil, err
	}
	mode := "tty"
	if conf.CMode != nil {
		mode = *conf.CMode
	}
	c := lxc.Console{Name: vmid.String(), Path: s.LXCPath(), TTY: -1, Escape: escape}
	switch mode {
	case "shell":
		return lxc.Attach{Name: vmid.String(), Path: s.LXCPath()}.Command(), nil
	case "console":
		c.TTY = 0
	}
	return c.Command(), nil
}
