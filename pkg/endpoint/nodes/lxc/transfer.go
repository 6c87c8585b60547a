package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/transfer"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) transferMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Tool: tool, Name: "push", Doc: "Copy a file into a running container."}, s.push),
		api.New(api.Method{Tool: tool, Name: "pull", Doc: "Copy a file out of a running container."}, s.pull),
	}
}

// copied is what the copy of a file shall have.
type copied struct {
	Perms *string `pve:"perms" doc:"Permissions of the copy, octal, or hexadecimal after 0x; unset keeps them."`
	User  *string `pve:"user" doc:"Owner of the copy, a name of where it goes or a number."`
	Group *string `pve:"group" doc:"Group of the copy, a name of where it goes or a number."`
}

func (c copied) file(vmid id.VM, source, dest string) transfer.File {
	return transfer.File{VM: vmid, Source: source, Dest: dest, Perms: value(c.Perms), User: value(c.User), Group: value(c.Group)}
}

// value returns what an option says, the zero value where it is not given.
func value[T any](option *T) T {
	if option == nil {
		return *new(T)
	}
	return *option
}

type pushRequest struct {
	local
	copied
	File string `pve:"file" doc:"File of the host."`
	Dest string `pve:"destination" doc:"Where it goes in the container."`
}

func (s *Service) push(ctx context.Context, req pushRequest) (nothing, error) {
	return nothing{}, (&transfer.Service{Host: s.CTs}).Push(ctx, req.file(req.VMID, req.File, req.Dest))
}

type pullRequest struct {
	local
	copied
	Path string `pve:"path" doc:"File of the container."`
	Dest string `pve:"destination" doc:"Where it goes on the host."`
}

func (s *Service) pull(ctx context.Context, req pullRequest) (nothing, error) {
	return nothing{}, (&transfer.Service{Host: s.CTs}).Pull(ctx, req.file(req.VMID, req.Path, req.Dest))
}
