package power

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/guestagent"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// CheckAgent tells whether the agent in the guest of a VM can be talked to.
func (s *Service) CheckAgent(ctx context.Context, vmid id.VM) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	if err := guestagent.Check(vm.Typed(doc.Values)); err != nil {
		return err
	}
	running, err := s.Running(vmid)
	if err == nil && !running {
		err = fmt.Errorf("VM %d is not running", vmid)
	}
	return err
}

// greetPatience is how long an agent may take to say that it is there.
const greetPatience = 5 * time.Second

// Agent connects to the agent in the guest of a VM.
func (s *Service) Agent(ctx context.Context, vmid id.VM) (*qmp.Agent, error) {
	if err := s.CheckAgent(ctx, vmid); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, greetPatience)
	defer cancel()
	return qmp.DialAgent(bounded, s.Dir.Agent(vmid))
}

// AskAgent runs a command of the agent that has no parameters.
func (s *Service) AskAgent(ctx context.Context, vmid id.VM, name string) (json.RawMessage, error) {
	c, ok := guestagent.Find(name)
	if !ok {
		return nil, fmt.Errorf("the agent has no command '%s'", name)
	}
	a, err := s.Agent(ctx, vmid)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return c.Run(ctx, a)
}

// pollAgent is how often, at last, is asked whether a program in the guest has ended.
const pollAgent = 200 * time.Millisecond

// Exec runs a program in the guest and waits for its end, at most for patience: 0 for as
// long as it takes, below that not at all. The program goes on where it has not ended.
func (s *Service) Exec(ctx context.Context, vmid id.VM, argv []string, input []byte, patience time.Duration) (pid int, exit qmp.Exit, err error) {
	a, err := s.Agent(ctx, vmid)
	if err != nil {
		return 0, exit, err
	}
	defer a.Close()
	if pid, err = a.Start(ctx, argv, input); err != nil || patience < 0 {
		return pid, exit, err
	}
	begun := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, pollAgent) {
		if exit, err = a.Exit(ctx, pid); err != nil || exit.Exited || patience > 0 && time.Since(begun) >= patience {
			return pid, exit, err
		}
		select {
		case <-ctx.Done():
			return pid, exit, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// SetPassword sets the password of a user in the guest. One that is crypted is a hash
// as the guest stores it.
func (s *Service) SetPassword(ctx context.Context, vmid id.VM, user, password string, crypted bool) error {
	a, err := s.Agent(ctx, vmid)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Call(ctx, "guest-set-user-password", map[string]any{"username": user, "password": []byte(password), "crypted": crypted}, nil)
}
