package qmp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// maxAgentReply bounds what the guest, which is not trusted, can make us
	// hold; a guest-file-read of the largest size the agent allows fits.
	maxAgentReply = 80 << 20
	// syncPatience is how long a living agent may take to answer a sync.
	syncPatience = 3 * time.Second
	// delimiter is a byte that no JSON text holds: it marks where the agent's
	// answer to a sync begins, after whatever an interrupted session left.
	delimiter = 0xff
)

// Agent is a connection to the agent inside a guest, through the socket QEMU
// serves for its port. The agent does one thing at a time, and so does this.
type Agent struct {
	conn   *net.UnixConn
	in     *lines
	busy   chan struct{} // holds one token: who has it talks
	synced bool
}

// DialAgent connects to the agent's socket at path and makes sure that an agent
// answers; ErrNoAgent says that none does.
func DialAgent(ctx context.Context, path string) (*Agent, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect to agent socket %s: %w", path, err)
	}
	a := &Agent{conn: conn, in: newLines(conn, maxAgentReply), busy: make(chan struct{}, 1)}
	if err := a.sync(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

// Close ends the connection.
func (a *Agent) Close() error { return a.conn.Close() }

// Call runs a command of the agent as Monitor.Call runs one of QEMU. After a
// call that had no answer in time, the next one first makes sure that late
// answers are not mistaken for its own.
func (a *Agent) Call(ctx context.Context, command string, args, result any) error {
	return a.CallFor(ctx, Patience(command), command, args, result)
}

// CallFor is Call with a patience of its own; zero leaves it to ctx.
func (a *Agent) CallFor(ctx context.Context, patience time.Duration, command string, args, result any) error {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if err := a.call(ctx, command, args, result); err != nil {
		return &CallError{Command: command, Err: err, agent: true}
	}
	return nil
}

func (a *Agent) call(ctx context.Context, command string, args, result any) error {
	select {
	case a.busy <- struct{}{}:
	case <-ctx.Done():
		return reason(ctx, nil)
	}
	defer func() { <-a.busy }()
	if !a.synced {
		if err := a.sync(ctx); err != nil {
			return err
		}
	}
	a.synced = false
	line, err := a.exchange(ctx, request{Execute: command, Arguments: args}, nil)
	if err != nil {
		return err
	}
	a.synced = true
	msg, err := decode(line)
	switch {
	case err != nil:
		a.synced = false
		return err
	case msg.Error != nil:
		return msg.Error
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(msg.Return, result); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// Tell sends a command that the agent does not answer when it succeeds:
// guest-shutdown and the guest-suspend commands. It waits a moment for a refusal.
func (a *Agent) Tell(ctx context.Context, command string, args any) error {
	err := a.CallFor(ctx, time.Second, command, args, nil)
	if errors.Is(err, ErrTimeout) || errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// sync brings both sides to the same place, whatever was said before: the agent
// drops half a command it may have got, and we drop answers to older ones.
func (a *Agent) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	var b [8]byte
	rand.Read(b[:])
	token := int64(binary.LittleEndian.Uint64(b[:]) >> 11) // exact in a JSON number
	ask := request{Execute: "guest-sync-delimited", Arguments: map[string]int64{"id": token}}
	mine := func(line []byte) bool {
		var got int64
		msg, err := decode(line)
		return err == nil && msg.Return != nil && json.Unmarshal(msg.Return, &got) == nil && got == token
	}
	_, err := a.exchange(ctx, ask, mine)
	switch {
	case errors.Is(err, ErrTimeout):
		return ErrNoAgent
	case err != nil:
		return err
	}
	a.synced = true
	return nil
}

// exchange sends a request and returns the first line in answer that mine
// accepts; nil accepts any.
func (a *Agent) exchange(ctx context.Context, r request, mine func([]byte) bool) ([]byte, error) {
	text, err := encode(r)
	if err != nil {
		return nil, err
	}
	if mine != nil {
		// The byte also ends what the agent may have been reading.
		text = append([]byte{delimiter}, text...)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		a.conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted
			a.conn.SetDeadline(time.Time{})
		}
	}()
	if _, err := a.conn.Write(text); err != nil {
		return nil, reason(ctx, closed(err))
	}
	for {
		line, err := a.in.next()
		if err != nil {
			return nil, reason(ctx, closed(err))
		}
		line = line[bytes.LastIndexByte(line, delimiter)+1:]
		if mine == nil || mine(line) {
			return line, nil
		}
	}
}

// Ping tells whether the agent answers.
func (a *Agent) Ping(ctx context.Context) error {
	return a.Call(ctx, "guest-ping", nil, nil)
}

// Exit is how a program in the guest ended, or that it has not.
type Exit struct {
	Exited bool `json:"exited"`
	// Code is nil for a program that was ended by a signal, or has not ended.
	Code         *int   `json:"exitcode"`
	Signal       *int   `json:"signal"`
	Out          []byte `json:"out-data"`
	Err          []byte `json:"err-data"`
	OutTruncated bool   `json:"out-truncated"`
	ErrTruncated bool   `json:"err-truncated"`
}

// Start runs a program in the guest, with the given input if it is not nil, and
// returns its process id there.
func (a *Agent) Start(ctx context.Context, argv []string, input []byte) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("no program given")
	}
	args := map[string]any{"path": argv[0], "arg": argv[1:], "capture-output": true}
	if input != nil {
		args["input-data"] = base64.StdEncoding.EncodeToString(input)
	}
	var started struct{ PID int }
	err := a.Call(ctx, "guest-exec", args, &started)
	return started.PID, err
}

// Exit asks how the program that Start began has ended. The agent forgets a
// program once it has told.
func (a *Agent) Exit(ctx context.Context, pid int) (Exit, error) {
	var e Exit
	err := a.Call(ctx, "guest-exec-status", map[string]int{"pid": pid}, &e)
	return e, err
}

// Exec runs a program in the guest and waits for its end, at most until ctx ends;
// the program then goes on.
func (a *Agent) Exec(ctx context.Context, argv []string, input []byte) (Exit, error) {
	pid, err := a.Start(ctx, argv, input)
	if err != nil {
		return Exit{}, err
	}
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		e, err := a.Exit(ctx, pid)
		if err != nil || e.Exited {
			return e, err
		}
		if pause(ctx, wait) != nil {
			return e, &CallError{Command: "guest-exec", Err: reason(ctx, nil), agent: true}
		}
	}
}
