package cli

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// help runs the command of that name.
func (r *runner) help(c *command, words []string) int {
	p, _, err := c.syntax().parse(words, r.world.Err)
	if err != nil {
		return r.fail(err, c)
	}
	verbose := p["verbose"] == "1"
	if _, given := p["verbose"]; !given {
		verbose = p[arrayArgs] != ""
	}
	var names []string
	if p[arrayArgs] != "" {
		names = schema.SplitArray(p[arrayArgs])
	} else if p["verbose"] == "" {
		fmt.Fprint(r.world.Out, r.overview(nil))
		return exitOK
	}
	if r.tool.Single != nil {
		names = nil
	}
	text, err := r.explain(names, verbose)
	if err != nil {
		return r.misnamed(err)
	}
	fmt.Fprint(r.world.Out, text)
	return exitOK
}

// explain is the usage of the command, or of all commands of the group, that names
// name.
func (r *runner) explain(names []string, verbose bool) (string, error) {
	path, b, _, err := r.resolve(names, strings.Join(names, " "))
	if err != nil {
		return "", err
	}
	line := usageLine
	if verbose {
		line = r.full
	}
	var text string
	if b.Sub != nil {
		text = r.list(path, b.Sub, "", byName, line)
	} else {
		c, err := r.command(path, b)
		if err != nil {
			return "", err
		}
		text = line(c)
	}
	if verbose {
		return text, nil
	}
	return "USAGE: " + strings.TrimPrefix(text, margin) + "\n", nil
}

// full describes a command and all its options.
func (r *runner) full(c *command) string {
	s := c.syntax()
	var b strings.Builder
	fmt.Fprintf(&b, "USAGE: %s\n\n", s.line(c.prefix(), c.binding.Output))
	if c.doc != "" {
		b.WriteString(wrap(c.doc, "  ", 78) + "\n")
	}
	b.WriteString(s.describe())
	if s.extra != nil && len(s.extra.Properties) > 0 {
		b.WriteString(" General options:\n\n")
		(&syntax{}).paragraphs(&b, s.extra.Properties)
	}
	return b.String()
}
