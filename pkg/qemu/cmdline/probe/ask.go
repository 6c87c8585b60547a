package probe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// patience is how long QEMU may take to answer all questions.
const patience = 30 * time.Second

// question is a command of the monitor and where its answer goes.
type question struct {
	id      string
	command string
	args    map[string]any
	take    func(json.RawMessage) error
}

// ask starts QEMU without a machine, puts all questions, and reads the answers,
// which come in order.
func (p *Prober) ask(ctx context.Context, path, arch string) (*cmdline.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := &cmdline.Capabilities{Binary: path, Properties: map[string][]string{}}
	questions := questions(c, arch)
	var in bytes.Buffer
	for _, q := range questions {
		call := map[string]any{"execute": q.command, "id": q.id}
		if q.args != nil {
			call["arguments"] = q.args
		}
		line, err := json.Marshal(call)
		if err != nil {
			return nil, err
		}
		in.Write(append(line, '\n'))
	}
	// Of a monitor that has been hung up on, QEMU drops the questions: it stays open.
	stdin, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	defer end.Close()
	if _, err := end.Write(in.Bytes()); err != nil { // a pipe holds 64 KiB, the questions are 3
		return nil, err
	}
	out := &listener{last: fmt.Appendf(nil, `"id": "%d"`, len(questions)-1), answered: func() {
		// A QEMU that is told to quit drops the answers that nobody has read yet.
		_, _ = end.WriteString(`{"execute": "quit"}` + "\n") // one that is gone needs no word
	}}
	cmd := run.Command(path, "-S", "-M", "none", "-nodefaults", "-display", "none", "-no-user-config", "-qmp", "stdio")
	cmd.Stdin, cmd.Stdout, cmd.ReadOnly = stdin, out, true
	if err := p.Runner.Run(ctx, cmd); err != nil {
		return nil, fmt.Errorf("ask QEMU what it can do: %w", err)
	}
	if err := answer(&out.text, questions); err != nil {
		return nil, fmt.Errorf("ask QEMU what it can do: %w", err)
	}
	if c.Version == "" {
		return nil, fmt.Errorf("ask QEMU what it can do: %s did not tell its version: %s", path, clean(out.text.String()[:min(out.text.Len(), 200)]))
	}
	if err := checkAge(c); err != nil {
		return nil, err
	}
	return c, nil
}

// A listener keeps what QEMU says and tells when the last question was answered.
type listener struct {
	text     bytes.Buffer
	last     []byte // what the last answer has
	answered func()
}

// Write implements [io.Writer].
func (l *listener) Write(p []byte) (int, error) {
	from := max(0, l.text.Len()-len(l.last)) // it may have come in two pieces
	n, err := l.text.Write(p)
	if l.answered != nil && bytes.Contains(l.text.Bytes()[from:], l.last) {
		l.answered()
		l.answered = nil
	}
	return n, err
}

// answer gives the answers in out to those who asked.
func answer(out *bytes.Buffer, questions []question) error {
	for {
		line, err := out.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return nil
		}
		var reply struct {
			ID     string
			Return json.RawMessage
		}
		if json.Unmarshal(line, &reply) != nil || reply.Return == nil {
			continue // a greeting, an event, or a question that this QEMU does not know
		}
		i := slices.IndexFunc(questions, func(q question) bool { return q.id == reply.ID })
		if i < 0 || questions[i].take == nil {
			continue
		}
		if err := questions[i].take(reply.Return); err != nil {
			return fmt.Errorf("%s: %w", questions[i].command, err)
		}
	}
}

// questions lists what to ask and fills c with the answers.
func questions(c *cmdline.Capabilities, arch string) []question {
	list := []question{
		{command: "qmp_capabilities"},
		{command: "query-version", take: func(raw json.RawMessage) error { return version(c, raw) }},
		{command: "query-machines", take: names(&c.Machines, "name", "alias")},
		{command: "query-cpu-definitions", take: names(&c.CPUs, "name")},
		{command: "qom-list-types", args: map[string]any{"implements": "device", "abstract": false}, take: names(&c.Devices, "name")},
		{command: "qom-list-types", args: map[string]any{"implements": "user-creatable", "abstract": false}, take: names(&c.Objects, "name")},
		{command: "qom-list-types", args: map[string]any{"implements": "chardev"}, take: func(raw json.RawMessage) error {
			var types []string
			err := names(&types, "name")(raw)
			c.Spice = slices.Contains(types, "chardev-spicevmc")
			return err
		}},
		{command: "query-qmp-schema", take: func(raw json.RawMessage) error { return block(c, raw) }},
	}
	properties := func(key, driver string) {
		list = append(list, question{
			command: "device-list-properties", args: map[string]any{"typename": driver},
			take: func(raw json.RawMessage) error {
				var all []string
				err := names(&all, "name")(raw)
				c.Properties[key] = all
				return err
			},
		})
	}
	for _, driver := range cmdline.VersionedDrivers() {
		properties(driver, driver)
	}
	properties(cmdline.CPUProperties, "max-"+map[string]string{"x86_64": "x86_64", "aarch64": "arm"}[arch]+"-cpu")
	for i := range list {
		list[i].id = fmt.Sprint(i)
	}
	return list
}

// checkAge refuses a QEMU before [oldest].
func checkAge(c *cmdline.Capabilities) error {
	part := func(text string, i int) int {
		n, _ := strconv.Atoi(strings.Split(text, ".")[i]) // version has made it of numbers
		return n
	}
	if cmp.Or(cmp.Compare(part(c.Version, 0), part(oldest, 0)), cmp.Compare(part(c.Version, 1), part(oldest, 1))) < 0 {
		return fmt.Errorf("%w: %s is version %s, and %s or later is needed", ErrTooOld, c.Binary, c.Version, oldest)
	}
	return nil
}

func version(c *cmdline.Capabilities, raw json.RawMessage) error {
	var v struct {
		QEMU struct{ Major, Minor, Micro int }
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	c.Version = fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
	return nil
}

// names returns a taker of a list of objects that keeps some of their members,
// sorted.
func names(into *[]string, members ...string) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var objects []map[string]any
		if err := json.Unmarshal(raw, &objects); err != nil {
			return err
		}
		all := []string{}
		for _, object := range objects {
			for _, member := range members {
				if name, ok := object[member].(string); ok {
					all = append(all, name)
				}
			}
		}
		slices.Sort(all)
		*into = slices.Compact(all)
		return nil
	}
}

// block finds, in the description of all commands, how files can be read: that
// enumeration is known by what it holds, as names are not told.
func block(c *cmdline.Capabilities, raw json.RawMessage) error {
	var entries []struct {
		Meta   string `json:"meta-type"`
		Values []string
	}
	if err := json.Unmarshal(raw, &entries); err != nil {
		return err
	}
	for _, e := range entries {
		holds := func(words ...string) bool {
			return !slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(e.Values, word) })
		}
		if e.Meta == "enum" && holds("threads", "native") {
			c.AIO = e.Values
		}
	}
	return nil
}
