// Package guestagent knows what can be asked of the QEMU guest agent by name, and what a VM's
// option agent means.
//
// Programs run in the guest, files read and passwords set through the agent have parameters of
// their own; those calls are with the agent's connection, in qmp.
package guestagent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// ErrNotConfigured is returned where a VM's configuration has no agent.
var ErrNotConfigured = errors.New("No QEMU guest agent configured") //nolint:staticcheck // upstream's text

// Check tells whether the VM's configuration has an agent.
func Check(c *qemu.Config) error {
	if c.Agent == nil || !c.Agent.Enabled {
		return ErrNotConfigured
	}
	return nil
}

// Freezes tells whether file systems are to be frozen for backups and snapshots.
func Freezes(c *qemu.Config) bool {
	return Check(c) == nil && (c.Agent.FreezeFS == nil || *c.Agent.FreezeFS)
}

// Trims tells whether file systems are to be trimmed after a disk has moved.
func Trims(c *qemu.Config) bool {
	return Check(c) == nil && c.Agent.FSTrimClonedDisks != nil && *c.Agent.FSTrimClonedDisks
}

// A Caller is a connection to the agent; qmp has one.
type Caller interface {
	// Call runs a command and decodes its answer into result.
	Call(ctx context.Context, command string, args, result any) error
	// Tell runs a command that is only answered when it fails.
	Tell(ctx context.Context, command string, args any) error
}

// A Command is something that can be asked of the agent without parameters.
type Command struct {
	Name       string   // as in qm guest cmd and in the API
	Verb       string   // of its API method
	Privileges []string // one of which is needed on the VM
	Silent     bool     // the agent answers only when it fails
}

// Commands lists all commands by name.
func Commands() []Command {
	const all = "VM.GuestAgent.Unrestricted"
	audit, power := []string{"VM.GuestAgent.Audit", all}, []string{"VM.PowerMgmt", all}
	fs, look := []string{"VM.GuestAgent.FileSystemMgmt", all}, []string{"VM.GuestAgent.Audit", "VM.GuestAgent.FileSystemMgmt", all}
	return []Command{
		{"fsfreeze-freeze", "POST", fs, false},
		{"fsfreeze-status", "POST", look, false},
		{"fsfreeze-thaw", "POST", fs, false},
		{"fstrim", "POST", fs, false},
		{"get-fsinfo", "GET", audit, false},
		{"get-host-name", "GET", audit, false},
		{"get-memory-block-info", "GET", audit, false},
		{"get-memory-blocks", "GET", audit, false},
		{"get-osinfo", "GET", audit, false},
		{"get-time", "GET", audit, false},
		{"get-timezone", "GET", audit, false},
		{"get-users", "GET", audit, false},
		{"get-vcpus", "GET", audit, false},
		{"info", "GET", audit, false},
		{"network-get-interfaces", "GET", audit, false},
		{"ping", "POST", audit, false},
		{"shutdown", "POST", power, true},
		{"suspend-disk", "POST", power, true},
		{"suspend-hybrid", "POST", power, true},
		{"suspend-ram", "POST", power, true},
	}
}

// Find returns the command of the given name.
func Find(name string) (Command, bool) {
	all := Commands()
	if i := slices.IndexFunc(all, func(c Command) bool { return c.Name == name }); i >= 0 {
		return all[i], true
	}
	return Command{}, false
}

// Wire returns the command as the agent knows it.
func (c Command) Wire() string { return "guest-" + c.Name }

// Run asks the agent and returns its answer; a silent command has none, which is null.
func (c Command) Run(ctx context.Context, agent Caller) (json.RawMessage, error) {
	if c.Silent {
		return json.RawMessage("null"), agent.Tell(ctx, c.Wire(), nil)
	}
	var answer json.RawMessage
	err := agent.Call(ctx, c.Wire(), nil, &answer)
	return answer, err
}
