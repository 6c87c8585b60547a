package lxc

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) consoleMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Tool: tool, Name: "console", Doc: "Open the console of a container."}, s.console),
		api.New(api.Method{Tool: tool, Name: "cpusets", Doc: "Show which processors the running containers may use.", ReadOnly: true}, s.cpusets),
		api.New(api.Method{Tool: tool, Name: "enter", Doc: "Open a shell in a container."}, s.enter),
		api.New(api.Method{Tool: tool, Name: "exec", Doc: "Run a program in a container."}, s.exec),
	}
}

// take has a program take the place of this process.
func (s *Service) take(argv []string, err error) (nothing, error) {
	if err == nil {
		err = s.Replace(argv)
	}
	return nothing{}, err
}

type consoleRequest struct {
	local
	Escape *string `pve:"escape" doc:"Key that leaves the console, before q; ^x is the control key with x." pattern:"\\^?[a-z]" default:"^a"`
}

func (s *Service) console(ctx context.Context, req consoleRequest) (nothing, error) {
	escape := "^a"
	if req.Escape != nil {
		escape = *req.Escape
	}
	return s.take(s.Power.Console(ctx, req.VMID, escape))
}

type enterRequest struct {
	local
	KeepEnv *bool `pve:"keep-env" doc:"Keep the environment; otherwise it is that of the container." default:"1"`
}

func (s *Service) enter(ctx context.Context, req enterRequest) (nothing, error) {
	return s.take(s.Power.Exec(ctx, req.VMID, req.KeepEnv == nil || *req.KeepEnv))
}

type execRequest struct {
	local
	KeepEnv *bool    `pve:"keep-env" doc:"Keep the environment; otherwise it is that of the container." default:"1"`
	Args    []string `pve:"extra-args" doc:"Program to run, and its arguments."`
}

func (s *Service) exec(ctx context.Context, req execRequest) (nothing, error) {
	return s.take(s.Power.Exec(ctx, req.VMID, req.KeepEnv == nil || *req.KeepEnv, req.Args...))
}

func (s *Service) cpusets(ctx context.Context, _ struct{}) (nothing, error) {
	guests, err := s.CTs.Cluster.LocalGuests(ctx, cluster.Container)
	if err != nil {
		return nothing{}, err
	}
	active, err := s.CTs.Active(ctx)
	if err != nil {
		return nothing{}, err
	}
	rows := map[id.VM]string{}
	for _, g := range guests {
		if !active[g.ID.String()] {
			continue
		}
		cpus, err := power.CPUSet(g.ID)
		if err != nil {
			api.Warnf(ctx, "CT %d: %v", g.ID, err)
			continue
		}
		rows[g.ID] = row(cpus)
	}
	printSets(api.StreamsOf(ctx).Out, rows)
	return nothing{}, nil
}

// row shows a set of processors, each in its own column.
func row(cpus []int) string {
	line := &strings.Builder{}
	line.WriteString(": ")
	for n := 0; len(cpus) > 0 && n <= slices.Max(cpus); n++ {
		number := strconv.Itoa(n)
		if !slices.Contains(cpus, n) {
			number = strings.Repeat(" ", len(number))
		}
		line.WriteString(" " + number)
	}
	return line.String()
}

// printSets shows the sets of all containers below each other.
func printSets(out io.Writer, rows map[id.VM]string) {
	if len(rows) == 0 {
		fmt.Fprintln(out, "no running containers")
		return
	}
	vmids, width, name := []id.VM{}, 0, 0
	for vmid, row := range rows {
		vmids = append(vmids, vmid)
		width, name = max(width, len(row)), max(name, len(vmid.String()))
	}
	slices.SortFunc(vmids, func(a, b id.VM) int { return cmp.Compare(a, b) })
	rule := strings.Repeat("-", width+name)
	fmt.Fprintln(out, rule)
	for _, vmid := range vmids {
		fmt.Fprintf(out, "%*d%s\n", name, vmid, rows[vmid])
	}
	fmt.Fprintln(out, rule)
}
