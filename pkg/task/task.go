// Package task runs long work as tasks: each has a UPID, a process of its own, a
// log, and a place in the list of what runs and has run on the node.
//
// The worker process is the same program called again. It gets its order over a
// pipe, so that no parameter shows in the list of processes, and stands in a
// session of its own: a closed terminal, a restarted daemon or the crash of
// another task do it no harm. What it prints goes to the log, whose last line is
// the result; that line is the truth about a task, the lists beside it are made to
// agree with it whenever they are read.
package task

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

var (
	// ErrNotHere is the error of a question about a task of another node.
	ErrNotHere = errors.New("task belongs to another node")
	// ErrInterrupted is the cause of the context of a worker that was told to stop.
	ErrInterrupted = errors.New("received interrupt")
)

// Host is where tasks live: one node's list of them, and what it takes to start
// new ones. The zero values of its fields are good for a real node, but for Node
// and Command.
type Host struct {
	Root    string           // put before /var/log/pve/tasks
	Node    string           // name of the node, part of every UPID
	Command []string         // a worker's command line but for its title: the program, and the words that make it one
	Env     []string         // KEY=value, added to the environment of a worker
	Stderr  *os.File         // where a worker complains that cannot open its log; nil: nowhere
	Now     func() time.Time // nil: the clock
	Owner   int              // user that logs belong to where we are root; 0: root
}

// Spec says what a new task is to do.
type Spec struct {
	Type   string        // kind of work, as qmstart
	ID     string        // object of the work, as 100; may be empty
	User   string        // on whose behalf
	Method string        // what to call, in words the worker understands
	Params schema.Params // with what; secrets are safe here
	Stdin  []byte        // what the work may read; secrets are safe here
}

// Order is what a worker is told to do.
type Order struct {
	Task   id.Task
	Method string
	Params schema.Params
	Stdin  []byte
}

// message is an Order on its way to the worker. Values are bytes there: text in JSON
// would lose what is no UTF-8, as descriptions in older encodings are.
type message struct {
	Task   id.Task           `json:"upid"`
	Method string            `json:"method"`
	Params map[string][]byte `json:"params"`
	Stdin  []byte            `json:"stdin,omitempty"`
}

// send writes the order to a worker.
func (o Order) send(w io.Writer) error {
	m := message{o.Task, o.Method, make(map[string][]byte, len(o.Params)), o.Stdin}
	for key, value := range o.Params {
		m.Params[key] = []byte(value)
	}
	return json.NewEncoder(w).Encode(m)
}

// receive reads an order.
func receive(r io.Reader) (Order, error) {
	var m message
	if err := json.NewDecoder(r).Decode(&m); err != nil {
		return Order{}, err
	}
	o := Order{m.Task, m.Method, make(schema.Params, len(m.Params)), m.Stdin}
	for key, value := range m.Params {
		o.Params[key] = string(value)
	}
	return o, nil
}

// A Func does the work of a task. It tells how it goes on log and returns when all
// is done, or undone; ctx ends when the task is to stop.
type Func func(ctx context.Context, o Order, log io.Writer) error

// Failed is the error of a task that ended with one. Its text is that of the work.
type Failed struct {
	Task    id.Task
	Message string
	cause   error // where the work was done in this process
}

// Error returns the text of the error that ended the work.
func (f *Failed) Error() string { return f.Message }

// Unwrap returns the error of the work, where it was done in this process.
func (f *Failed) Unwrap() error { return f.cause }

func (h *Host) now() time.Time {
	if h.Now != nil {
		return h.Now()
	}
	return time.Now()
}

// dir is the folder of logs and lists.
func (h *Host) dir(parts ...string) string {
	return filepath.Join(append([]string{"/", h.Root, "var/log/pve/tasks"}, parts...)...)
}

// LogPath returns where the log of a task is: in one of sixteen folders, named by
// the last digit of the start time.
func (h *Host) LogPath(t id.Task) string {
	upid := t.String()
	digit := strings.Split(upid, ":")[4]
	return h.dir(digit[len(digit)-1:], upid)
}

// createLog makes the log of a new task.
func (h *Host) createLog(t id.Task) (*os.File, error) {
	path := h.LogPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	if h.Owner > 0 && os.Geteuid() == 0 {
		if err := f.Chown(h.Owner, -1); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(path))
		}
	}
	return f, nil
}
