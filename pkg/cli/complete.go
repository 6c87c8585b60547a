package cli

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Word is what the shell may put on the line, and what it means.
type Word struct{ Text, Doc string }

// complete returns what may come after words in the place of prefix. open tells
// that what it returns is only the beginning of a word.
func (r *runner) complete(ctx context.Context, words []string, prefix string) (list []Word, open bool) {
	var b Binding
	path, rest := []string{r.tool.Name}, words
	if r.tool.Single != nil {
		b = *r.tool.Single
	} else {
		var err error
		if path, b, rest, err = r.resolve(words, ""); err != nil {
			return nil, false
		}
	}
	if b.Sub != nil {
		return r.commandWords(b.Sub, prefix), false
	}
	c, err := r.command(path, b)
	if err != nil {
		return nil, false
	}
	if b.Method == helpMethod {
		if _, group, _, err := r.resolve(rest, ""); err == nil {
			return r.commandWords(group.Sub, prefix), false
		}
		return nil, false
	}
	l := r.read(ctx, c, rest)
	switch {
	case l.waiting != "":
		return l.values(l.waiting, prefix)
	case strings.HasPrefix(prefix, "-") && !l.ended:
		dashed := strings.TrimPrefix(strings.TrimPrefix(prefix, "-"), "-")
		if name, value, ok := cutValue(dashed); ok {
			return l.attached(prefix[:len(prefix)-len(value)], name, value)
		}
		return l.optionWords(prefix[:len(prefix)-len(dashed)], dashed), false
	}
	if name := l.nextArg(); name != "" {
		return l.values(name, prefix)
	}
	if prefix == "" {
		return l.optionWords("--", ""), false
	}
	return nil, false
}

// commandWords lists commands that begin with prefix. Other names of a command are
// offered only where nothing else is.
func (r *runner) commandWords(all Commands, prefix string) (list []Word) {
	for _, alias := range []bool{false, true} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			b := all[name]
			if (b.Alias != "") != alias || !strings.HasPrefix(name, prefix) {
				continue
			}
			list = append(list, Word{name, r.summary(b)})
		}
		if len(list) > 0 {
			break
		}
	}
	return list
}

// summary says in short what a command does.
func (r *runner) summary(b Binding) string {
	switch {
	case b.Alias != "":
		return "see " + b.Alias
	case b.Sub != nil:
		return strings.Join(byName(b.Sub), ", ")
	}
	c, err := r.command(nil, b)
	if err != nil {
		return ""
	}
	return c.doc
}

// A line is what a command line has before the word that is being typed.
type line struct {
	r       *runner
	ctx     context.Context //nolint:containedctx // lives as long as one completion
	s       *syntax
	all     map[string]*schema.Schema
	options map[string]option
	params  schema.Params
	rest    []string
	waiting string // the option that the next word is the value of
	ended   bool   // there are no more options
}

// read takes apart the words of a line that is not finished; what is wrong with it
// is passed over.
func (r *runner) read(ctx context.Context, c *command, words []string) *line {
	s := c.syntax()
	l := &line{r: r, ctx: ctx, s: s, options: s.options(), params: maps.Clone(s.fixed)}
	if l.params == nil {
		l.params = schema.Params{}
	}
	r.localise(l.params)
	for _, word := range words {
		switch {
		case l.waiting != "":
			l.params[l.waiting], l.waiting = word, ""
		case l.ended || !strings.HasPrefix(word, "-") || word == "-":
			l.rest = append(l.rest, word)
		case word == "--":
			l.ended = true
		default:
			name, value, attached := cutValue(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"))
			o, err := find(l.options, name)
			switch {
			case err != nil:
			case attached:
				l.params[o.name] = value
			case o.optional: // its value may follow, but who completes means the next word
				l.params[o.name] = ""
			default:
				l.waiting = o.name
			}
		}
	}
	for i, name := range s.args {
		if i < len(l.rest) {
			l.params[name] = l.rest[i]
		}
	}
	l.all, _ = s.chosen(l.params)
	if l.all == nil {
		l.all = map[string]*schema.Schema{}
	}
	return l
}

// nextArg is the positional parameter that comes next.
func (l *line) nextArg() string {
	if n := len(l.rest); n < len(l.s.args) {
		return l.s.args[n]
	}
	if n := len(l.s.args); n > 0 {
		last := l.s.args[n-1]
		if p := l.all[last]; p != nil && (p.Type == "array" || p.IsList()) {
			return last
		}
	}
	return ""
}

// optionWords lists options that begin with prefix and are not given yet. Of a
// family only the first member that is free is offered, until a number is typed.
func (l *line) optionWords(dashes, prefix string) (list []Word) {
	offered := map[string]bool{}
	names := slices.SortedFunc(maps.Keys(l.options), func(a, b string) int {
		if fa, na, ok := schema.Member(a); ok {
			if fb, nb, ok := schema.Member(b); ok && fa == fb {
				return na - nb
			}
		}
		return strings.Compare(a, b)
	})
	for _, lower := range names {
		o := l.options[lower]
		if _, given := l.params[o.name]; given && !o.many || !strings.HasPrefix(lower, strings.ToLower(prefix)) {
			continue
		}
		if family, _, ok := schema.Member(o.name); ok && l.all[family+"[n]"] != nil && len(prefix) <= len(family) {
			if offered[family] {
				continue
			}
			offered[family] = true
		}
		doc := ""
		if p := l.property(o.name); p != nil {
			doc = p.Description
		}
		list = append(list, Word{dashes + o.name, doc})
	}
	return list
}

func (l *line) property(name string) *schema.Schema {
	if p := lookup(l.all, name); p != nil {
		return p
	}
	if l.s.extra != nil {
		return l.s.extra.Properties[name]
	}
	return nil
}

// attached completes the value in --name=value.
func (l *line) attached(before, name, value string) ([]Word, bool) {
	o, err := find(l.options, name)
	if err != nil {
		return nil, false
	}
	list, open := l.values(o.name, value)
	for i := range list {
		list[i].Text = before + list[i].Text
	}
	return list, open
}

// values lists what a parameter may be.
func (l *line) values(name, prefix string) ([]Word, bool) {
	p := l.property(name)
	if p != nil && p.Alias != "" {
		p = l.property(p.Alias)
	}
	if p == nil {
		return nil, false
	}
	if m, ok := l.s.mapping[name]; ok && !m.Secret {
		return files(prefix)
	}
	if p.Keys != nil {
		return l.parts(p, prefix)
	}
	if p.IsList() {
		i := strings.LastIndexAny(prefix, ",; ") + 1
		return behind(prefix[:i], l.words(name, p, prefix[i:])), false
	}
	return l.words(name, p, prefix), false
}

func behind(before string, list []Word) []Word {
	for i := range list {
		list[i].Text = before + list[i].Text
	}
	return list
}

// words lists values for one plain parameter.
func (l *line) words(name string, p *schema.Schema, prefix string) (list []Word) {
	choices := p.Enum
	if p.Type == "boolean" {
		choices = []string{"0", "1"}
	}
	for _, word := range choices {
		if strings.HasPrefix(word, prefix) {
			list = append(list, Word{Text: word})
		}
	}
	if len(choices) > 0 || l.r.world.Live == nil {
		return list
	}
	for _, kind := range []string{name, strings.TrimSuffix(p.Format, "-list")} {
		if kind == "" {
			continue
		}
		for _, word := range l.r.world.Live(l.ctx, kind, prefix, l.params) {
			if strings.HasPrefix(word.Text, prefix) {
				list = append(list, word)
			}
		}
		if len(list) > 0 {
			break
		}
	}
	return list
}

// parts completes the last part of a property string: a key, or the value of one.
func (l *line) parts(p *schema.Schema, prefix string) ([]Word, bool) {
	at := strings.LastIndex(prefix, ",") + 1
	before, part := prefix[:at], prefix[at:]
	if key, value, ok := strings.Cut(part, "="); ok {
		k := p.Keys[key]
		if k == nil || k.Alias != "" {
			return nil, false
		}
		return behind(before+key+"=", l.words(key, k, value)), false
	}
	var list []Word
	if name := p.DefaultName(); name != "" && at == 0 {
		list = l.words(name, p.Keys[name], part)
	}
	values := len(list)
	given, _ := p.ParseString(strings.TrimSuffix(before, ","))
	for _, name := range slices.Sorted(maps.Keys(p.Keys)) {
		if _, done := given[name]; done || p.Keys[name].Alias != "" || !strings.HasPrefix(name, part) || part == "" && values > 0 {
			continue
		}
		list = append(list, Word{before + name + "=", p.Keys[name].Description})
	}
	return list, len(list) > values
}

// files lists the files whose path begins with prefix. open tells that it is a folder,
// in which there is more.
func files(prefix string) (list []Word, open bool) {
	dir, base := filepath.Split(prefix)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, false
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, base) || base == "" && name[0] == '.' {
			continue
		}
		if entry.IsDir() {
			name, open = name+"/", true
		}
		list = append(list, Word{Text: dir + name})
	}
	return list, open && len(list) == 1
}
