package coverage

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cli"
)

// Dump writes what is declared in the shape of the specification: api.json and
// cli.json.
func Dump(methods api.Registry, tools []cli.Tool) (map[string][]byte, error) {
	paths := map[string]map[string]*Method{}
	for i := range methods {
		m := &methods[i]
		if m.Path == "" {
			continue
		}
		if paths[m.Path] == nil {
			paths[m.Path] = map[string]*Method{}
		}
		paths[m.Path][m.Verb] = methodSpec(m)
	}
	clis := map[string]*Command{}
	for _, t := range tools {
		clis[t.Name] = toolSpec(t, methods)
	}
	files := map[string][]byte{}
	for name, data := range map[string]any{"api.json": map[string]any{"paths": paths}, "cli.json": map[string]any{"clis": clis}} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(data); err != nil {
			return nil, err
		}
		files[name] = b.Bytes()
	}
	return files, nil
}

func toolSpec(t cli.Tool, methods api.Registry) *Command {
	root := &Command{}
	t.Walk(methods, func(path []string, b cli.Binding) {
		leaf := &Command{Alias: b.Alias}
		if b.Alias == "" {
			leaf = commandSpec(b, methods.Find(b.Method))
		} else if !declared(t, methods, b.Alias) {
			return
		}
		if len(path) == 0 {
			root = leaf
			return
		}
		at := root
		for i, word := range path {
			if at.Subcommands == nil {
				at.Subcommands = map[string]*Command{}
			}
			if i == len(path)-1 {
				at.Subcommands[word] = leaf
			} else if at.Subcommands[word] == nil {
				at.Subcommands[word] = &Command{}
			}
			at = at.Subcommands[word]
		}
	})
	return root
}

// declared tells whether a command that another name stands for is there.
func declared(t cli.Tool, methods api.Registry, target string) (found bool) {
	t.Walk(methods, func(path []string, b cli.Binding) {
		found = found || b.Alias == "" && strings.Join(path, " ") == target
	})
	return found
}
