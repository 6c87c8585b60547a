package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// A runner runs the commands of one tool.
type runner struct {
	tool  Tool
	world World
	find  func(key string) *facts

	changes bool // the command does more than tell
}

func newRunner(t Tool, w World) *runner { return &runner{tool: t, world: w, find: w.facts} }

// run runs the command that the arguments name.
func (r *runner) run(ctx context.Context) int {
	c, words, err := r.chosen()
	switch {
	case errors.Is(err, errHelp):
		fmt.Fprint(r.world.Out, r.overview(nil))
		return exitOK
	case err != nil:
		return r.misnamed(err)
	case c.binding.Method == helpMethod:
		return r.help(c, words)
	}
	if err := r.do(ctx, c, words); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", c.prefix(), context.Cause(ctx))
		}
		return r.fail(err, c)
	}
	return exitOK
}

// chosen finds the command that the arguments name and the words that are left for
// it.
func (r *runner) chosen() (*command, []string, error) {
	if r.tool.Single != nil {
		words := r.world.Args
		if len(words) > 0 && words[0] == helpCommand {
			words = []string{"--help"}
		}
		c, err := r.command([]string{r.tool.Name}, *r.tool.Single)
		return c, words, err
	}
	path, b, words, err := r.resolve(r.world.Args, "")
	switch {
	case err != nil && asksHelp(r.world.Args):
		return nil, nil, errHelp
	case err != nil:
		return nil, nil, err
	case b.Sub == nil:
		c, err := r.command(path, b)
		return c, words, err
	case len(path) == 1:
		return nil, nil, &misnamed{text: "no command specified"}
	}
	text := fmt.Sprintf("incomplete command '%s'", strings.Join(path, " "))
	return nil, nil, &misnamed{text, path, b.Sub}
}

// asksHelp tells whether the words begin as a call for help does elsewhere.
// Upstream knows no such option.
func asksHelp(words []string) bool {
	return len(words) > 0 && (words[0] == "--help" || words[0] == "-h")
}

// misnamed tells that no command is named.
func (r *runner) misnamed(err error) int {
	fmt.Fprintln(r.world.Err, err)
	if e, ok := errors.AsType[*misnamed](err); ok {
		fmt.Fprint(r.world.Err, r.overview(e))
	}
	return exitFailure
}

// fail tells of an error and returns its exit code. A fault of what the user gave
// is followed by the usage.
func (r *runner) fail(err error, c *command) int {
	if errors.Is(err, errHelp) {
		fmt.Fprint(r.world.Out, r.full(c))
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(r.world.Err, text)
	}
	if e, ok := errors.AsType[*api.Error](err); ok && e.Status == http.StatusBadRequest {
		fmt.Fprintln(r.world.Err, c.usage())
	}
	// Not what err wraps: the exit code of a program that we ran is not ours.
	if coded, ok := err.(interface{ ExitCode() int }); ok { //nolint:errorlint // see above
		return coded.ExitCode()
	}
	return exitFailure
}

// do calls the method of c and shows what comes of it.
func (r *runner) do(ctx context.Context, c *command, words []string) error {
	s := c.syntax()
	s.read = r.mapped
	p, extra, err := s.parse(words, r.world.Err)
	if err != nil {
		return err
	}
	if err := checkExtra(s.extra, extra); err != nil {
		return err
	}
	r.localise(p)
	ctx = api.WithStreams(ctx, api.Streams{Out: r.progress(extra), Err: r.world.Err, In: r.world.In})
	caller, err := r.world.Caller(ctx)
	if err != nil {
		return err
	}
	if extra[dryRun] == "1" {
		return r.rehearse(ctx, caller, c, p)
	}
	r.changes = !c.readOnly
	result, err := caller.Call(ctx, c.binding.Method, p)
	if err != nil {
		return err
	}
	if upid, ok := result.(string); ok && c.task {
		if upid == "" || r.world.Follow == nil {
			return nil
		}
		return r.world.Follow(ctx, upid)
	}
	if !c.returnsData() {
		if c.binding.Print == nil {
			return nil
		}
	}
	return r.output(c, extra).show(c.binding.Print, result, p)
}

// progress is where a method tells of its steps. A program that reads the result gets
// nothing else on that stream.
func (r *runner) progress(extra schema.Params) io.Writer {
	switch format := extra["output-format"]; {
	case extra["quiet"] == "1":
		return io.Discard
	case format != "" && format != "text":
		return r.world.Err
	}
	return r.world.Out
}

// rehearse goes through the command without touching anything.
func (r *runner) rehearse(ctx context.Context, caller api.Caller, c *command, p schema.Params) error {
	steps := plan.New(r.world.Out)
	if _, err := caller.Call(plan.With(ctx, steps), c.binding.Method, p); err != nil {
		return err
	}
	if steps.Steps() == 0 {
		fmt.Fprintln(r.world.Out, "nothing would change")
	}
	return nil
}

// localise puts the name of this node where it is wanted.
func (r *runner) localise(p schema.Params) {
	for name, text := range maps.Clone(p) {
		if text == LocalNode && r.world.Node != nil {
			p[name] = r.world.Node()
		}
	}
}

// mapped gets the value of an option that is given by a file, or asked for.
func (r *runner) mapped(name string, m Mapping, given string) (string, error) {
	text := given
	var err error
	switch {
	case m.Secret && given != "":
	case m.Secret:
		text, err = r.secret()
	default:
		text, err = readFile(given)
	}
	if err != nil {
		return "", err
	}
	if m.Encode != nil {
		text = m.Encode(text)
	}
	return text, nil
}

// maxMapped bounds files whose content is a value, and maxSecret passwords: nobody means
// /dev/zero.
const (
	maxMapped = 16 << 20
	maxSecret = 64 << 10
)

func readFile(path string) (string, error) {
	raw, err := file.Read(path, maxMapped)
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		why := errno.Error()
		return "", fmt.Errorf("can't open '%s' - %s", path, strings.ToUpper(why[:1])+why[1:])
	}
	return string(raw), err
}

// secret asks for a new password, twice where somebody types it.
func (r *runner) secret() (string, error) {
	if r.world.Secret == nil || !term.IsTerminal(r.world.In) {
		return r.pipedSecret()
	}
	first, err := r.world.Secret("Enter new password: ")
	if err != nil {
		return "", err
	}
	second, err := r.world.Secret("Retype new password: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the passwords do not match")
	}
	return first, nil
}

func (r *runner) pipedSecret() (string, error) {
	line := ""
	if r.world.In != nil {
		var err error
		line, err = bufio.NewReader(io.LimitReader(r.world.In, maxSecret+1)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if len(line) > maxSecret {
			return "", fmt.Errorf("password is longer than %d bytes", maxSecret)
		}
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("EOF while reading password") //nolint:staticcheck // upstream's text
	}
	return line, nil
}

// checkExtra checks the options that the method does not see.
func checkExtra(s *schema.Schema, extra schema.Params) error {
	values := make(map[string]any, len(extra))
	for name, text := range extra {
		values[name] = text
	}
	if faults := s.Check(values); faults != nil {
		return api.ParamError(faults)
	}
	return nil
}
