package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"toy": func() {
			w := toyWorld()
			w.In, w.Out, w.Err, w.Args, w.Env = os.Stdin, os.Stdout, os.Stderr, os.Args[1:], os.Getenv
			os.Exit(Main(toyTool(), w))
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", UpdateScripts: *update})
}

// The toy is a tool with one command of each kind.
func toyTool() Tool {
	local := schema.Params{"node": LocalNode}
	secrets := map[string]Mapping{"password": {Secret: true}, "sshkeys": {Encode: url.QueryEscape}}
	return Tool{
		Name: "toy", Doc: "Play with toys.",
		Examples: []Example{{"toy create 100 --memory 64", "Make a toy."}},
		Files:    []File{{"/etc/pve/toys.cfg", "The toys."}},
		Commands: Commands{
			"create":  {Method: "POST /nodes/{node}/toys", Args: []string{"id"}, Fixed: local, Mapping: secrets},
			"set":     {Method: "PUT /nodes/{node}/toys/{id}", Args: []string{"id"}, Fixed: local, Mapping: secrets},
			"list":    {Method: "GET /nodes/{node}/toys", Fixed: local, Output: true},
			"config":  {Method: "GET /nodes/{node}/toys/{id}", Args: []string{"id"}, Fixed: local, Print: printConfig},
			"destroy": {Method: "DELETE /nodes/{node}/toys/{id}", Args: []string{"id"}, Fixed: local},
			"status":  {Method: "status", Args: []string{"id"}},
			"sleep":   {Method: "sleep"},
			"passwd":  {Method: "passwd", Args: []string{"id"}, Mapping: map[string]Mapping{"password": {Secret: true}}},
			"exec":    {Method: "exec", Args: []string{"id", "extra-args"}},
			"part": {Sub: Commands{
				"move": {Method: "move", Args: []string{"id", "part", "storage"}},
				"mend": {Method: "POST /nodes/{node}/toys/{id}/mend", Args: []string{"id"}, Fixed: local},
			}},
			"move_part": {Alias: "part move"},
		},
	}
}

type toyNet struct {
	Model    string `pve:"model,default_key" enum:"e1000|virtio" doc:"Card."`
	Bridge   string `pve:"bridge,optional" format:"pve-bridge-id" doc:"Bridge."`
	Firewall *bool  `pve:"firewall" doc:"Whether the firewall acts."`
}

type toyOptions struct {
	Node     string         `pve:"node" format:"pve-node" doc:"The node."`
	ID       int            `pve:"id" format:"pve-vmid" min:"100" doc:"The number of the toy."`
	Memory   *int           `pve:"memory" min:"16" default:"512" doc:"Memory in MiB."`
	Name     *string        `pve:"name" format:"dns-name" doc:"A name."`
	NUMA     *bool          `pve:"numa" doc:"Whether there is NUMA."`
	OnBoot   *bool          `pve:"onboot" default:"0" doc:"Whether it starts by itself."`
	OSType   *string        `pve:"ostype" enum:"l26|other" doc:"What runs in it."`
	Net      map[int]toyNet `pve:"net[4]" doc:"Network device."`
	Password *string        `pve:"password" doc:"The password."`
	SSHKeys  *string        `pve:"sshkeys" doc:"Public keys."`
	Storage  *string        `pve:"storage" format:"pve-storage-id" doc:"Where it is put."`
	Given    schema.Given
}

type toyRow struct {
	ID   int     `pve:"id" doc:"The number."`
	Name *string `pve:"name" doc:"The name."`
	Size *int64  `pve:"size" renderer:"bytes" doc:"The size."`
}

type toyConfig struct {
	Memory int            `pve:"memory" doc:"Memory."`
	Name   *string        `pve:"name" doc:"Name."`
	Net    map[int]toyNet `pve:"net[4]" doc:"Network."`
}

type toyID struct {
	Node string `pve:"node,optional" doc:"The node."`
	ID   int    `pve:"id" format:"pve-vmid" min:"100" doc:"The number of the toy."`
}

type toyExec struct {
	ID    int      `pve:"id" doc:"The number of the toy."`
	Extra []string `pve:"extra-args" doc:"The command."`
}

type toyMove struct {
	ID      int     `pve:"id" doc:"The number of the toy."`
	Part    string  `pve:"part" enum:"arm|leg" doc:"The part."`
	Storage *string `pve:"storage" format:"pve-storage-id" doc:"Where to."`
}

type toyPassword struct {
	ID       int    `pve:"id" doc:"The number of the toy."`
	Password string `pve:"password" doc:"The password."`
}

type none struct{}

func toyMethods() api.Registry {
	return api.Registry{
		api.NewTask(api.Method{Name: "create", Verb: "POST", Path: "/nodes/{node}/toys", Doc: "Make a toy."}, prepareToy, makeToy),
		api.New(api.Method{Name: "set", Verb: "PUT", Path: "/nodes/{node}/toys/{id}", Doc: "Change a toy."}, setToy),
		api.New(api.Method{Name: "list", Verb: "GET", Path: "/nodes/{node}/toys", Doc: "List toys."}, listToys),
		api.New(api.Method{Name: "config", Verb: "GET", Path: "/nodes/{node}/toys/{id}", Doc: "Show a toy."}, configToy),
		api.New(api.Method{Name: "destroy", Verb: "DELETE", Path: "/nodes/{node}/toys/{id}", Doc: "Destroy a toy."}, destroyToy),
		api.New(api.Method{Name: "mend", Verb: "POST", Path: "/nodes/{node}/toys/{id}/mend", Doc: "Mend a toy."}, mendToy),
		api.New(api.Method{Name: "status", Doc: "Show how a toy does.", ReadOnly: true}, func(context.Context, toyID) (string, error) { return "fine", nil }),
		api.New(api.Method{Name: "exec", Doc: "Let a toy do something."}, func(_ context.Context, in toyExec) (string, error) {
			return strings.Join(in.Extra, "|"), nil
		}),
		api.New(api.Method{Name: "move", Doc: "Move a part."}, func(_ context.Context, in toyMove) (string, error) { return in.Part + " moved", nil }),
		api.New(api.Method{Name: "sleep", Doc: "Wait to be stopped."}, func(ctx context.Context, _ none) (none, error) {
			api.Printf(ctx, "asleep\n")
			<-ctx.Done()
			return none{}, fmt.Errorf("sleep: %w", ctx.Err())
		}),
		api.New(api.Method{Name: "passwd", Doc: "Set a password."}, func(_ context.Context, in toyPassword) (string, error) { return "it is " + in.Password, nil }),
	}
}

func prepareToy(_ context.Context, in toyOptions) (api.Job, error) {
	if in.ID == 666 {
		return api.Job{}, errors.New("toy 666 exists already")
	}
	return api.Job{Type: "toycreate", ID: fmt.Sprint(in.ID)}, nil
}

func makeToy(ctx context.Context, in toyOptions) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("make toy %d", in.ID)
		return nil
	}
	api.Printf(ctx, "made toy %d on %s\n", in.ID, in.Node)
	return nil
}

func setToy(ctx context.Context, in toyOptions) (none, error) {
	if in.Memory != nil && *in.Memory == 17 {
		return none{}, api.BadParam("memory", "17 brings bad luck")
	}
	for name, text := range in.Given {
		if name != "id" && name != "node" {
			api.Printf(ctx, "set %s to %q\n", name, text)
		}
	}
	return none{}, nil
}

func listToys(context.Context, struct {
	Node string `pve:"node" doc:"The node."`
	Full *bool  `pve:"full" doc:"Show all."`
},
) ([]toyRow, error) {
	return []toyRow{
		{ID: 1001, Name: new("bär")},
		{ID: 100, Name: new("ball"), Size: new(int64(3 * schema.GiB))},
	}, nil
}

func configToy(context.Context, toyID) (toyConfig, error) {
	return toyConfig{Memory: 512, Name: new("ball"), Net: map[int]toyNet{0: {Model: "virtio", Bridge: "vmbr0"}}}, nil
}

func destroyToy(_ context.Context, in toyID) (none, error) {
	return none{}, fmt.Errorf("toy %d is locked", in.ID)
}

func mendToy(context.Context, toyID) (none, error) { return none{}, nil }

func printConfig(o *Output, result any, _ schema.Params) error {
	for name, value := range result.(map[string]any) {
		if name == "memory" {
			fmt.Fprintf(o, "memory is %v\n", value)
		}
	}
	return nil
}

// exitError is a task's end.
type exitError int

func (e exitError) Error() string { return "" }
func (e exitError) ExitCode() int { return int(e) }

func toyWorld() World {
	reg := toyMethods()
	local := api.Local{Methods: reg}
	local.Start = func(ctx context.Context, m *api.Method, _ api.Job, p schema.Params) (string, error) {
		return "UPID:" + p["id"], local.Work(ctx, m.Key(), p)
	}
	return World{
		Node: func() string { return "here" }, Methods: reg, Location: time.UTC,
		Caller: func(context.Context) (api.Caller, error) { return local, nil },
		Follow: func(ctx context.Context, upid string) error {
			api.Printf(ctx, "followed %s\n", upid)
			if upid == "UPID:777" {
				return exitError(3)
			}
			return nil
		},
		Live: func(_ context.Context, kind, _ string, p schema.Params) []Word {
			switch kind {
			case "pve-vmid":
				return []Word{{"100", "ball"}, {"101", "bear"}}
			case "storage":
				return []Word{{"local", "dir"}, {"tank-" + p["id"], "zfspool"}}
			case "pve-bridge-id":
				return []Word{{Text: "vmbr0"}, {Text: "vmbr1"}}
			}
			return nil
		},
	}
}
