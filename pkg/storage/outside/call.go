package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A request is what a program reads.
type request struct {
	API     int      `json:"api"`
	Call    string   `json:"call"`
	Storage *section `json:"storage,omitempty"`
	Args    any      `json:"args,omitempty"`
}

// A section is the storage that a call is about.
type section struct {
	ID      string            `json:"id"`
	Type    string            `json:"type"`
	Content []storage.Content `json:"content"`
	Options schema.Params     `json:"options"`
	Secrets map[string]string `json:"secrets,omitempty"`
	Root    string            `json:"root"`
}

// A reply is what it writes: one of the two.
type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *fault          `json:"error"`
}

// A fault is what went wrong on the other side.
type fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// limit returns how long a call may take where the program does not say otherwise.
func limit(call string) time.Duration {
	switch call {
	case "describe", "path":
		return 5 * time.Second
	case "activate", "deactivate", "status":
		return 10 * time.Second
	case "list", "info", "snapshots", "activateVolume", "deactivateVolume", "canRollback", "added", "changed", "removed":
		return time.Minute
	}
	return 6 * time.Hour // copies
}

// mostLimit bounds what programs may want.
const mostLimit = 7 * 24 * time.Hour

// limit returns how long a call of the program may take.
func (d *Description) limit(call string) time.Duration {
	if wish := time.Duration(d.Timeouts[call]) * time.Second; wish > 0 && wish <= mostLimit {
		return wish
	}
	return limit(call)
}

// grace is how long a program has to end when it is told to.
const grace = 2 * time.Second

// call runs the program once. What it has started ends with it.
func (p *program) call(ctx context.Context, r request, patience time.Duration, readOnly bool) (json.RawMessage, error) {
	in, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer in %s", patience))
	defer cancel()
	// The call is in argv for those who look at processes, and for nothing else.
	out, err := run.OutputOf(ctx, p.runner, run.Cmd{
		Path: p.path, Args: []string{r.Call}, Env: []string{"LC_ALL=C"}, Stdin: bytes.NewReader(append(in, '\n')),
		Stderr: api.StreamsOf(ctx).Err, ReadOnly: readOnly, Grace: grace,
	})
	answer, bad := parseReply(out)
	switch {
	case err != nil && (ctx.Err() != nil || bad != nil || answer.Error == nil):
		return nil, fmt.Errorf("%s: %w", r.Call, err)
	case bad != nil:
		return nil, fmt.Errorf("%s: %s: %w", r.Call, p.path, bad)
	case answer.Error != nil:
		return nil, answer.Error.err()
	}
	return answer.Result, nil
}

var errNoReply = errors.New("its answer has neither a result nor an error")

// parseReply reads what a program has written: one object and nothing after it.
func parseReply(out []byte) (reply, error) {
	var r reply
	d := json.NewDecoder(bytes.NewReader(out))
	if err := d.Decode(&r); err != nil {
		return reply{}, fmt.Errorf("its answer cannot be read (%w): %s", err, shown(out))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return reply{}, fmt.Errorf("there is more than one answer: %s", shown(out[d.InputOffset():]))
	}
	if (r.Result == nil) == (r.Error == nil) {
		return reply{}, errNoReply
	}
	return r, nil
}

// shown is the beginning of what a program has written.
func shown(out []byte) string {
	const most = 80
	text := strings.TrimSpace(string(out))
	if text == "" {
		return "it said nothing"
	}
	if len(text) > most {
		text = text[:most] + "…"
	}
	return fmt.Sprintf("%q", text)
}

// err is a fault as callers know it.
func (f *fault) err() error {
	var cause error
	switch f.Code {
	case "notExist":
		cause = storage.ErrNotExist
	case "exists":
		cause = storage.ErrExists
	case "inUse":
		cause = storage.ErrInUse
	}
	switch {
	case cause == nil && f.Message == "":
		return errors.New("it failed, and does not say why")
	case cause == nil:
		return errors.New(f.Message)
	case f.Message == "":
		return cause
	}
	return storage.Told(f.Message, cause)
}
