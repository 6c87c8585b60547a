package qemu

import (
	"context"
	"fmt"
	"io"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/guestagent"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func (s *Service) agentMethods() []api.Method {
	method := func(name, verb, word, doc string, privileges ...string) api.Method {
		m := api.Method{Name: name, Verb: verb, Path: "/nodes/{node}/qemu/{vmid}/agent" + word, Doc: doc, ProxyTo: "node", Protected: true}
		if m.Permissions = onVM(privileges...); len(privileges) > 1 {
			m.Permissions = api.Permissions{Check: api.AnyPerm("/vms/{vmid}", privileges...)}
		}
		return m
	}
	const all = "VM.GuestAgent.Unrestricted"
	methods := []api.Method{
		api.New(method("agent", "POST", "", "Run a command of the guest agent.", all, all), s.agent),
		api.New(method("exec", "POST", "/exec", "Run a program in the guest.", all), s.exec),
		api.New(method("exec-status", "GET", "/exec-status", "Tell how a program run in the guest is doing.", all), s.execStatus),
		api.New(method("set-user-password", "POST", "/set-user-password", "Set the password of a user in the guest.", all), s.setPassword),
		api.New(api.Method{Name: "exec", Doc: "Run a program in the guest and wait for its end."}, s.runInGuest),
	}
	for _, c := range guestagent.Commands() {
		m := method(c.Name, c.Verb, "/"+c.Name, fmt.Sprintf("Run the command %s of the guest agent.", c.Name), c.Privileges...)
		methods = append(methods, api.New(m, func(ctx context.Context, req target) (agentReply, error) {
			return s.askAgent(ctx, req, c.Name)
		}))
	}
	return methods
}

// agentReply is what the agent answered, under the key result.
type agentReply map[string]schema.JSON

func (s *Service) askAgent(ctx context.Context, t target, command string) (agentReply, error) {
	answer, err := s.Power.AskAgent(ctx, t.VMID, command)
	if err != nil {
		return nil, err
	}
	return agentReply{"result": schema.JSON(answer)}, nil
}

type agentRequest struct {
	target
	Command string `pve:"command" doc:"What to ask of the agent." enum:"fsfreeze-freeze|fsfreeze-status|fsfreeze-thaw|fstrim|get-fsinfo|get-host-name|get-memory-block-info|get-memory-blocks|get-osinfo|get-time|get-timezone|get-users|get-vcpus|info|network-get-interfaces|ping|shutdown|suspend-disk|suspend-hybrid|suspend-ram"`
}

func (s *Service) agent(ctx context.Context, req agentRequest) (agentReply, error) {
	return s.askAgent(ctx, req.target, req.Command)
}

type execRequest struct {
	target
	Command []string `pve:"command,required" doc:"Program to run, and its arguments."`
	Input   *string  `pve:"input-data" doc:"What the program reads from standard input." maxlen:"65536"`
}

// execReply names a program that was started.
type execReply struct {
	PID int `pve:"pid" doc:"Process id in the guest."`
}

func (s *Service) exec(ctx context.Context, req execRequest) (execReply, error) {
	var input []byte
	if req.Input != nil {
		input = []byte(*req.Input)
	}
	pid, _, err := s.Power.Exec(ctx, req.VMID, req.Command, input, -1)
	return execReply{pid}, err
}

type execStatusRequest struct {
	target
	PID int `pve:"pid" doc:"Process id in the guest, as exec told it."`
}

// exitReply tells how a program in the guest has ended, or which one runs still.
type exitReply struct {
	ErrData      *string `pve:"err-data" doc:"What the program wrote to standard error."`
	ErrTruncated *bool   `pve:"err-truncated" doc:"Standard error was longer than that."`
	ExitCode     *int    `pve:"exitcode" doc:"Exit code of the program."`
	Exited       bool    `pve:"exited" doc:"The program has ended."`
	OutData      *string `pve:"out-data" doc:"What the program wrote to standard output."`
	OutTruncated *bool   `pve:"out-truncated" doc:"Standard output was longer than that."`
	Signal       *int    `pve:"signal" doc:"Signal that ended the program."`
}

func exitOf(e qmp.Exit) exitReply {
	r := exitReply{Exited: e.Exited, ExitCode: e.Code, Signal: e.Signal}
	if len(e.Out) > 0 {
		r.OutData = new(string(e.Out))
	}
	if len(e.Err) > 0 {
		r.ErrData = new(string(e.Err))
	}
	if e.OutTruncated {
		r.OutTruncated = new(true)
	}
	if e.ErrTruncated {
		r.ErrTruncated = new(true)
	}
	return r
}

func (s *Service) execStatus(ctx context.Context, req execStatusRequest) (exitReply, error) {
	a, err := s.Power.Agent(ctx, req.VMID)
	if err != nil {
		return exitReply{}, err
	}
	defer a.Close()
	e, err := a.Exit(ctx, req.PID)
	return exitOf(e), err
}

type passwordRequest struct {
	target
	Crypted  *bool  `pve:"crypted" doc:"The password is a hash as the guest stores it." default:"0"`
	Password string `pve:"password" doc:"New password." minlen:"5" maxlen:"1024"`
	User     string `pve:"username" doc:"User in the guest."`
}

func (s *Service) setPassword(ctx context.Context, req passwordRequest) (agentReply, error) {
	if err := s.Power.SetPassword(ctx, req.VMID, req.User, req.Password, is(req.Crypted)); err != nil {
		return nil, err
	}
	return agentReply{"result": schema.JSON("null")}, nil
}

type guestExecRequest struct {
	target
	Args        []string `pve:"extra-args" doc:"Program to run, and its arguments."`
	PassStdin   *bool    `pve:"pass-stdin" doc:"Give standard input to the program, up to 1 MiB." default:"0"`
	Synchronous *bool    `pve:"synchronous" doc:"Wait for the end of the program." default:"1"`
	Timeout     *int     `pve:"timeout" doc:"Seconds to wait for the end; 0 for no limit." min:"0" default:"30"`
}

// maxInput is how much input a program in the guest can be given.
const maxInput = 1 << 20

// runInGuest returns how the program ended, or its process id where it has not.
func (s *Service) runInGuest(ctx context.Context, req guestExecRequest) (map[string]schema.JSON, error) {
	if len(req.Args) == 0 {
		return nil, api.BadParam("extra-args", "property is missing and it is not optional")
	}
	var input []byte
	if in := api.StreamsOf(ctx).In; is(req.PassStdin) && in != nil {
		var err error
		if input, err = io.ReadAll(io.LimitReader(in, maxInput+1)); err != nil {
			return nil, err
		}
		if len(input) > maxInput {
			return nil, fmt.Errorf("input is longer than %d bytes", maxInput)
		}
	}
	patience := 30
	if req.Timeout != nil {
		patience = *req.Timeout
	}
	wait := *seconds(&patience)
	if req.Synchronous != nil && !*req.Synchronous {
		wait = -1
	}
	pid, exit, err := s.Power.Exec(ctx, req.VMID, req.Args, input, wait)
	if err != nil {
		return nil, err
	}
	if wait < 0 || !exit.Exited {
		return jsonOf(execReply{pid}), nil
	}
	return jsonOf(exitOf(exit)), nil
}

// jsonOf makes an object of different kinds of replies.
func jsonOf(reply any) map[string]schema.JSON {
	object, _ := schema.Value(reply).(map[string]any)
	out := make(map[string]schema.JSON, len(object))
	for key, value := range object {
		if value != nil {
			out[key] = schema.JSONOf(value)
		}
	}
	return out
}
