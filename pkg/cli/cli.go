// Package cli puts API methods on the command line.
//
// A [Tool] is a table of commands; each names a method and says how its
// parameters are given. All the rest is read off the method's declaration:
// options, checking, usage texts, help, completion and manual pages. The words
// are taken as upstream's tools take them: -memory 512, --mem 512, --onboot,
// positional parameters before or after options.
//
// It runs a command from its words to its exit code, but opens nothing itself:
// the streams, the caller of methods and the follower of tasks come in a [World].
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// A Tool is a binary and the commands it has.
type Tool struct {
	Name     string
	Doc      string // what it is for, in a sentence
	Commands Commands
	Single   *Binding  // the only command of a tool that has none by name
	Examples []Example // for the manual page
	Files    []File    // for the manual page
}

// An Example is a command line and what it does.
type Example struct{ Line, Doc string }

// A File is a path that a tool reads or writes, and what it holds.
type File struct{ Path, Doc string }

// Commands are commands by name.
type Commands map[string]Binding

// A Binding makes a command of a method. It is exactly one of a method, a group of
// further commands, and another name of a command.
type Binding struct {
	Method  string             // the key of an [api.Method]
	Args    []string           // the parameters given by position, in order
	Fixed   schema.Params      // parameters that the tool fills in; see [LocalNode]
	Mapping map[string]Mapping // options whose value is not taken as it stands
	Print   Print              // how the result is shown as text; nil for a table
	Output  bool               // usage texts show the options on output, as upstream's do
	Class   string             // sorts and separates commands in usage texts; empty for the usual one

	Sub   Commands // nested commands
	Alias string   // the words of the command that this is another name of: "disk move"
}

// LocalNode as a fixed parameter stands for the name of this node.
const LocalNode = "<nodename>"

// A Mapping says how the value of an option comes about.
type Mapping struct {
	// Secret is asked for on the terminal when the option has no value, or when it
	// is required and not given. Else the value is the path of a file whose content
	// is sent.
	Secret bool
	Encode func(content string) string // how the content is sent; nil for as it is
}

func (m Mapping) hint() string {
	if m.Secret {
		return "<password>"
	}
	return "<filepath>"
}

// A Print shows a result, which is plain data as [schema.Value] makes it, as text.
// p are the parameters of the call.
type Print func(o *Output, result any, p schema.Params) error

// A World is what a command runs in.
type World struct {
	In       io.Reader
	Out, Err io.Writer
	Args     []string                 // without the name of the program
	Env      func(name string) string // asked for the locale and by completion only
	Node     func() string            // the name of this node
	Location *time.Location           // in which times are shown
	Methods  api.Registry

	// Caller opens what calls methods. It is not asked before the command line is
	// known to be right.
	Caller func(context.Context) (api.Caller, error)
	// Follow shows the log of a task to the user until the task is done. Its error
	// is the task's: it is printed, and may have a method ExitCode() int.
	Follow func(ctx context.Context, upid string) error
	// Secret reads a line from the terminal without echo. Without it, or where In
	// is no terminal, a line of In is read.
	Secret func(prompt string) (string, error)
	// Live finds words for the shell that only the running system knows: kind is a
	// parameter's name or format, p what the line already has.
	Live func(ctx context.Context, kind, prefix string, p schema.Params) []Word
}

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 255
)

// Main runs the command that w.Args name and returns the exit code. An interrupt
// or SIGTERM cancels the command's context; a second one ends the process.
func Main(t Tool, w World) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, t, w)
}

// Run is [Main] without signals.
func Run(ctx context.Context, t Tool, w World) int {
	if wantsCompletion(t, w) {
		return completeLine(ctx, t, w)
	}
	out := &outlet{Writer: w.Out}
	if !term.IsTerminal(w.Out) {
		w.Out = out
	}
	r := newRunner(t, w)
	code := r.run(ctx)
	// What was to be told is lost. Where something has been done besides, that counts.
	if code == exitOK && out.err != nil && !r.changes {
		fmt.Fprintln(w.Err, out.err)
		return exitFailure
	}
	return code
}

// An outlet remembers that something could not be written.
type outlet struct {
	io.Writer
	err error
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.err = err
	}
	return n, err
}
