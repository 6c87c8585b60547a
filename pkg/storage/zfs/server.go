package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A server runs programs on a machine that is reached by ssh. The machine must be
// known: who it is, is asked nobody, and no password is.
type server struct {
	way
	next   run.Runner
	portal string
	key    string // the file of the key that lets us in
}

// host is the server without the port of its portal, and without brackets.
func (s *server) host() string {
	if host, _, err := net.SplitHostPort(s.portal); err == nil {
		return host
	}
	return strings.Trim(s.portal, "[]")
}

// Run runs a program on the server. Its words reach it as they are, whatever the shell
// there would make of them.
func (s *server) Run(ctx context.Context, c run.Cmd) error {
	line := run.Quote(append([]string{c.Path}, c.Args...)...)
	c.Path = s.ssh
	c.Args = []string{"-o", "BatchMode=yes", "-i", s.key, "root@" + s.host(), line}
	err := s.next.Run(ctx, c)
	const unreachable = 255 // what ssh itself ends with
	if e, ok := errors.AsType[*run.Error](err); ok && e.ExitCode == unreachable {
		return &unreachableError{host: s.host(), cause: err}
	}
	return err
}

// An unreachableError is a server that could not be asked.
type unreachableError struct {
	host  string
	cause error
}

// Error reads like "server nas: ssh: exit status 255: Host key verification failed."
func (e *unreachableError) Error() string { return "server " + e.host + ": " + e.cause.Error() }

func (e *unreachableError) Unwrap() error { return e.cause }

// ask runs a program that changes nothing and returns what it prints.
func (s *server) ask(ctx context.Context, words ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.look, fmt.Errorf("no answer in %s", s.look))
	defer cancel()
	out, err := run.OutputOf(ctx, s, run.Cmd{Path: words[0], Args: words[1:], Env: []string{"LC_ALL=C"}, Grace: time.Second, ReadOnly: true})
	return string(out), said(err)
}

// do runs a program that changes something, with an input. It goes on there when the
// connection ends, so it is not ended with ctx: else what is done to make up for it would
// be done too early.
func (s *server) do(ctx context.Context, input string, words ...string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.change, fmt.Errorf("no answer in %s", s.change))
	defer cancel()
	c := run.Cmd{Path: words[0], Args: words[1:], Env: []string{"LC_ALL=C"}, Grace: time.Second}
	if input != "" {
		c.Stdin = strings.NewReader(input)
	}
	var out bytes.Buffer
	c.Stdout = io.Writer(&out)
	err := s.Run(ctx, c)
	return out.String(), said(err)
}

// dry tells that nothing is to be done, so that there is nothing to look for.
func dry(ctx context.Context) bool { return plan.From(ctx) != nil }

// said gives the failure of a program on the server its own words: that ssh has run it
// says nothing.
func said(err error) error {
	e, ok := err.(*run.Error) //nolint:errorlint // what is wrapped has words of its own
	if !ok {
		return err
	}
	if words := strings.TrimSpace(e.Stderr); e.ExitCode > 0 && words != "" {
		return &wordsError{words, err}
	}
	return err
}

type wordsError struct {
	words string
	cause error
}

func (e *wordsError) Error() string { return e.words }
func (e *wordsError) Unwrap() error { return e.cause }

// read returns the first of some files of the server that is there, and its place in the
// list. what is to be installed where there is none.
func (s *server) read(ctx context.Context, what string, files ...string) (string, int, error) {
	for i, path := range files {
		text, err := s.ask(ctx, "cat", path)
		switch {
		case err == nil && text != "":
			return text, i, nil
		case err != nil && !strings.Contains(err.Error(), "No such file or directory"):
			return "", 0, err
		}
	}
	return "", 0, fmt.Errorf("No configuration found. Install %s on %s", what, s.portal)
}

// write replaces a file of the server, which keeps its mode and owner.
func (s *server) write(ctx context.Context, path, text string) error {
	_, err := s.do(ctx, text, "/bin/sh", "-c", `cp -p "$1" "$1.new" && cat >"$1.new" && mv "$1.new" "$1"`, "sh", path)
	return err
}

// await waits on the server for a device, which appears some time after its dataset.
func (s *server) await(ctx context.Context, device string) error {
	if dry(ctx) {
		return nil
	}
	if _, err := s.ask(ctx, "/bin/sh", "-c", `i=0; until test -e "$1"; do i=$((i + 1)); test $i -lt 8 || exit 1; sleep 1; done`, "sh", device); err != nil {
		if run.ExitCode(err) == 1 {
			return fmt.Errorf("no device '%s' on %s", device, s.portal)
		}
		return err
	}
	return nil
}
