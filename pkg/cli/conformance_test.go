package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

type optionsCase struct {
	Name          string
	Kind          string
	Args          []string
	Arg           []string                `json:"arg_param"`
	Fixed         map[string]any          `json:"fixed_param"`
	FormatOptions bool                    `json:"format_options"`
	Mapping       []struct{ Name string } `json:"param_mapping"`
	Schema        *schema.Schema
	SchemaRef     string                          `json:"schema_ref"`
	Resolve       *struct{ Result, Error string } `json:"resolve_type"`
	TypeResolver  bool                            `json:"type_resolver"`
	Prefix        string
	Expected      json.RawMessage
	ExpectedExtra map[string]any `json:"expected_format_options"`
	Error         string
	Errors        map[string]string
}

func TestConformanceCommonGetOptions(t *testing.T) {
	var suite struct {
		Environment struct {
			Format  map[string]*schema.Schema `json:"format_option_schema"`
			Schemas map[string]*schema.Schema
		}
		Cases []optionsCase
	}
	conformance.Load(t, "guest/common-get-options", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s := &syntax{schema: c.Schema, args: c.Arg, fixed: schema.Params{}, mapping: map[string]Mapping{}}
			if c.SchemaRef != "" {
				s.schema = suite.Environment.Schemas[c.SchemaRef]
			}
			for name, v := range c.Fixed {
				s.fixed[name] = fmt.Sprint(v)
			}
			for _, m := range c.Mapping {
				s.mapping[m.Name] = Mapping{}
			}
			if c.FormatOptions {
				s.extra = &schema.Schema{Type: "object", Properties: suite.Environment.Format}
			}
			if c.Resolve != nil {
				s.resolve = func(string, schema.Params) (string, error) { return c.Resolve.Result, nil }
			}
			if c.Kind == "usage" {
				var want string
				if err := json.Unmarshal(c.Expected, &want); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, s.long(c.Prefix, c.FormatOptions)); diff != "" {
					t.Error(diff)
				}
				return
			}
			checkParse(t, s, c)
		})
	}
}

func checkParse(t *testing.T, s *syntax, c optionsCase) {
	t.Helper()
	p, extra, err := s.parse(c.Args, new(bytes.Buffer))
	if err == nil && s.resolve != nil {
		// the one who knows the type of what exists takes it from there
		_, err = s.chosen(p)
	}
	if err == nil {
		values := map[string]any{}
		chosen, _ := s.chosen(maps.Clone(p))
		for name, text := range p {
			if q := lookup(chosen, name); q != nil && q.Type == "array" {
				list := []any{}
				for _, item := range schema.SplitArray(text) {
					list = append(list, item)
				}
				values[name] = list
				continue
			}
			values[name] = text
		}
		if faults := s.schema.Check(values); faults != nil {
			if c.Errors == nil {
				t.Fatalf("faults %v", faults)
			}
			if diff := cmp.Diff(c.Errors, map[string]string(faults)); diff != "" {
				t.Error(diff)
			}
			return
		}
	}
	if c.Error != "" {
		if err == nil || err.Error()+"\n" != c.Error {
			t.Errorf("error %v, want %q", err, c.Error)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(c.Expected, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts(want), map[string]string(p)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(texts(c.ExpectedExtra), map[string]string(extra)); diff != "" {
		t.Error(diff)
	}
}

// texts spells values as a command line does.
func texts(values map[string]any) map[string]string {
	p := map[string]string{}
	for name, v := range values {
		if list, ok := v.([]any); ok {
			words := make([]string, len(list))
			for i := range list {
				words[i] = fmt.Sprint(list[i])
			}
			p[name] = schema.Join(words)
			continue
		}
		p[name] = fmt.Sprint(v)
	}
	return p
}

// TestConformanceCommonAPIParameter: lists come in as text, arrays as several values.
func TestConformanceCommonAPIParameter(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name            string
			Schema          *schema.Schema
			Value, Expected any
		}
	}
	conformance.Load(t, "guest/common-api-parameter", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			words := []string{}
			switch v := c.Value.(type) {
			case string:
				words = append(words, "--p", v)
			case []any:
				for _, item := range v {
					words = append(words, "--p", item.(string))
				}
			}
			s := &syntax{schema: &schema.Schema{Type: "object", Properties: map[string]*schema.Schema{"p": c.Schema}}}
			p, _, err := s.parse(words, new(bytes.Buffer))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(texts(map[string]any{"p": c.Expected}), map[string]string(p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// specNode is a command or a group of them in spec/cli.json.
type specNode struct {
	Subcommands   map[string]*specNode
	Alias         string
	Class, Name   string
	API           string
	Args          []string
	ArgSchema     map[string]*schema.Schema `json:"arg_schema"`
	Fixed         map[string]any
	Options       map[string]*schema.Schema
	OptionsSchema *schema.Schema `json:"options_schema"`
	OutputOptions any            `json:"output_options"`
	Simple        bool
	Returns       string
	Mapping       map[string]struct{ Interactive bool } `json:"param_mapping"`
}

// specTool makes a tool of a specification, without methods that act.
func specTool(t *testing.T, name string) (Tool, func(string) *facts) {
	t.Helper()
	raw, err := os.ReadFile(conformance.Spec(t, "cli.json"))
	if err != nil {
		t.Skip(err)
	}
	var spec struct{ Clis map[string]*specNode }
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	known := map[string]*facts{}
	var build func(path string, n *specNode) Binding
	build = func(path string, n *specNode) Binding {
		b := Binding{Alias: n.Alias, Args: n.Args, Output: n.OutputOptions != nil, Class: n.Class, Method: path, Fixed: schema.Params{}}
		if n.Subcommands != nil {
			b.Sub = Commands{}
			for name, sub := range n.Subcommands {
				b.Sub[name] = build(path+" "+name, sub)
			}
			return b
		}
		for name, v := range n.Fixed {
			b.Fixed[name] = fmt.Sprint(v)
		}
		s := &schema.Schema{Type: "object", Properties: maps.Clone(n.Options)}
		if s.Properties == nil {
			s.Properties = map[string]*schema.Schema{}
		}
		maps.Copy(s.Properties, n.ArgSchema)
		if n.OptionsSchema != nil {
			s = &schema.Schema{Type: "object", AllOf: []*schema.Schema{s, n.OptionsSchema}}
		}
		known[path] = &facts{params: s, returns: &schema.Schema{Type: n.Returns}, readOnly: true}
		b.Mapping = map[string]Mapping{}
		for name, m := range n.Mapping {
			b.Mapping[name] = Mapping{Secret: m.Interactive}
		}
		return b
	}
	root := build(name, spec.Clis[name])
	tool := Tool{Name: name, Commands: root.Sub}
	if root.Sub == nil {
		tool.Single = &root
	}
	return tool, func(key string) *facts { return known[key] }
}

type transcript struct {
	Name           string
	Argv           []string
	Stdout, Stderr string
	Exit           int
}

// usageDeviations are transcripts of upstream refusing what we answer, by the
// beginning of the refusal.
var usageDeviations = map[string]string{
	"ERROR: unknown command 'pveum --help'": "asks for help, and gets it",
	"ERROR: unknown command 'pveum -h'":     "asks for help, and gets it",
	"Unknown option: help":                  "asks for help, and gets it",
	"Unknown option: output-format":         "every command that returns data has the options on output",
}

// TestConformanceUsage holds what each tool says of its own command line, in as far
// as no method is asked, against the transcripts.
func TestConformanceUsage(t *testing.T) {
	// pvesh is not among them: its options are those of the method that an argument names.
	passed, total := 0, 0
	for _, name := range []string{"qm", "pct", "pvesm", "vzdump", "pveum", "pve-firewall", "ha-manager", "pvecm", "pvenode", "pvesr"} {
		var suite struct{ Cases []transcript }
		conformance.Load(t, "cli/cli-"+name, &suite)
		tool, find := specTool(t, name)
		for _, c := range suite.Cases {
			if !aboutUsage(c) {
				continue
			}
			total++
			ok := t.Run(name+"/"+c.Name, func(t *testing.T) {
				for refusal, reason := range usageDeviations {
					if strings.HasPrefix(c.Stderr, refusal) {
						t.Skip(reason)
					}
				}
				var out, errs bytes.Buffer
				r := newRunner(tool, World{Out: &out, Err: &errs, Args: c.Argv[1:]})
				r.find = find
				code := r.run(t.Context())
				got := transcript{c.Name, c.Argv, out.String(), errs.String(), code}
				if code != exitOK && c.Exit != 0 {
					got.Exit = c.Exit // which error number happened to be set is no contract
				}
				if diff := cmp.Diff(c, got); diff != "" {
					t.Error(diff)
				}
			})
			if ok {
				passed++
			}
		}
	}
	t.Logf("%d of %d transcripts", passed, total)
}

// aboutUsage tells whether a transcript ends before a method is called.
func aboutUsage(c transcript) bool {
	if len(c.Argv) > 1 && c.Argv[1] == "help" {
		return true
	}
	for _, begin := range []string{
		"ERROR: ", "400 not enough arguments", "400 too many arguments", "400 unable to parse", "Unknown option", "Option ",
	} {
		if strings.HasPrefix(c.Stderr, begin) {
			return true
		}
	}
	return false
}
