package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxReply bounds a message of QEMU, against a monitor that has lost its mind;
// the largest honest one, query-qmp-schema, has 150 KiB.
const maxReply = 1 << 30

// Monitor is a connection to the monitor of one QEMU. Its methods may be called
// from several goroutines; calls then overlap, and each gets its own answer.
type Monitor struct {
	// Patience tells how long Call waits for the answer to a command; it may be
	// replaced before the first call. Zero means as long as the context allows.
	Patience func(command string) time.Duration

	conn     *net.UnixConn
	greeting Greeting
	sending  chan struct{} // holds one token: who has it writes
	done     chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan<- message
	subs    map[*Subscription]struct{}
	err     error
}

// New makes a monitor of a connection that is already there, such as one end of
// a socket pair: it waits for the greeting and enters command mode. The
// connection is the monitor's from then on, and closed if New fails.
func New(ctx context.Context, conn *net.UnixConn) (*Monitor, error) {
	m := &Monitor{
		Patience: Patience,
		conn:     conn,
		sending:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		waiting:  map[uint64]chan<- message{},
		subs:     map[*Subscription]struct{}{},
	}
	in := newLines(conn, maxReply)
	if err := m.greet(ctx, in); err != nil {
		conn.Close()
		return nil, err
	}
	go m.read(in)
	if err := m.CallFor(ctx, 0, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// maxStray is how many messages for the one before us may come ahead of the greeting.
const maxStray = 1000

// greet waits for the greeting. Where the client before us was killed in the middle of
// something, QEMU may still have had words for it, which come to us first.
func (m *Monitor) greet(ctx context.Context, in *lines) error {
	defer interruptReads(ctx, m.conn)()
	for range maxStray {
		line, err := in.next()
		if err != nil {
			return fmt.Errorf("no greeting: %w", reason(ctx, closed(err)))
		}
		msg, err := decode(line)
		if err != nil {
			return fmt.Errorf("no greeting: %w", err)
		}
		if msg.QMP != nil {
			m.greeting = *msg.QMP
			return nil
		}
		if msg.Event == "" && msg.Return == nil && msg.Error == nil {
			break
		}
	}
	return errors.New("no greeting: this is not a qmp socket")
}

// interruptReads makes reads of conn fail once ctx ends, until the function it
// returns is called.
func interruptReads(ctx context.Context, conn *net.UnixConn) func() {
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			return
		}
		conn.SetReadDeadline(time.Time{})
	}
}

// closed turns the many ways of a connection to end into ErrClosed.
func closed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return ErrClosed
	}
	return err
}

// Greeting returns how QEMU introduced itself.
func (m *Monitor) Greeting() Greeting { return m.greeting }

// Version returns QEMU's version, such as 7, 2, 22.
func (m *Monitor) Version() (major, minor, micro int) {
	v := m.greeting.Version.QEMU
	return v.Major, v.Minor, v.Micro
}

// Done is closed when the connection has ended; in general, when QEMU has.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// Close ends the connection. Calls under way fail with ErrClosed; QEMU runs on.
func (m *Monitor) Close() error {
	err := m.conn.Close()
	<-m.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Call runs a command with the given arguments (nil, or what encodes to a JSON
// object) and decodes what it returns into result, unless that is nil. It waits
// as long as Patience says for this command, and no longer than ctx allows.
func (m *Monitor) Call(ctx context.Context, command string, args, result any) error {
	var patience time.Duration
	if m.Patience != nil {
		patience = m.Patience(command)
	}
	return m.call(ctx, patience, command, args, result, nil)
}

// CallFor is Call with a patience of its own; zero leaves it to ctx.
func (m *Monitor) CallFor(ctx context.Context, patience time.Duration, command string, args, result any) error {
	return m.call(ctx, patience, command, args, result, nil)
}

// CallFile is Call for a command that takes an open file along. QEMU gets a
// duplicate: the file remains the caller's to close.
func (m *Monitor) CallFile(ctx context.Context, f *os.File, command string, args, result any) error {
	return m.call(ctx, Patience(command), command, args, result, f)
}

func (m *Monitor) call(ctx context.Context, patience time.Duration, command string, args, result any, f *os.File) error {
	if patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	msg, err := m.exchange(ctx, command, args, f)
	if err == nil && msg.Error != nil {
		err = msg.Error
	}
	if err == nil && result != nil {
		if err = json.Unmarshal(msg.Return, result); err != nil {
			err = fmt.Errorf("read answer: %w", err)
		}
	}
	if err != nil {
		return &CallError{Command: command, Err: err}
	}
	return nil
}

func (m *Monitor) exchange(ctx context.Context, command string, args any, f *os.File) (message, error) {
	id, answer, err := m.await()
	if err != nil {
		return message{}, err
	}
	defer m.forget(id)
	line, err := encode(request{Execute: command, Arguments: args, ID: &id})
	if err != nil {
		return message{}, err
	}
	if err := m.send(ctx, line, f); err != nil {
		return message{}, err
	}
	select {
	case msg, ok := <-answer:
		if !ok {
			return message{}, m.Err()
		}
		return msg, nil
	case <-ctx.Done():
		return message{}, reason(ctx, nil)
	}
}

// await opens a place for the answer with the id it returns.
func (m *Monitor) await() (uint64, <-chan message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, nil, m.err
	}
	m.last++
	// One place in the buffer: the reader never waits for a caller.
	answer := make(chan message, 1)
	m.waiting[m.last] = answer
	return m.last, answer, nil
}

func (m *Monitor) forget(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, id)
}

// send writes a line, with a file if there is one. A line that could only be
// written in part ends the connection, as nothing after it would be understood.
func (m *Monitor) send(ctx context.Context, line []byte, f *os.File) error {
	select {
	case m.sending <- struct{}{}:
	case <-m.done:
		return m.Err()
	case <-ctx.Done():
		return reason(ctx, nil)
	}
	defer func() { <-m.sending }()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		m.conn.SetWriteDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted
			m.conn.SetWriteDeadline(time.Time{})
		}
	}()
	n, err := writeFile(m.conn, line, f)
	if err == nil {
		return nil
	}
	if n > 0 {
		m.conn.Close()
	}
	return reason(ctx, closed(err))
}

// writeFile writes line; the file travels with its first byte.
func writeFile(conn *net.UnixConn, line []byte, f *os.File) (int, error) {
	if f == nil {
		return conn.Write(line)
	}
	n, _, err := conn.WriteMsgUnix(line, unix.UnixRights(int(f.Fd())), nil)
	if err != nil || n == len(line) {
		return n, err
	}
	more, err := conn.Write(line[n:])
	return n + more, err
}

// Err returns why the connection ended, or nil while it lasts.
func (m *Monitor) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// read hands out what comes until the connection ends. It never waits for
// anything but the connection.
func (m *Monitor) read(in *lines) {
	defer close(m.done)
	for {
		line, err := in.next()
		if err != nil {
			m.end(closed(err))
			return
		}
		msg, err := decode(line)
		if err != nil {
			m.end(err)
			return
		}
		m.deliver(msg)
	}
}

func (m *Monitor) deliver(msg message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if msg.Event != "" {
		e := Event{Name: msg.Event, Data: msg.Data, Time: msg.Timestamp.time()}
		for s := range m.subs {
			s.put(e)
		}
		return
	}
	if msg.ID == nil {
		return
	}
	if answer, ok := m.waiting[*msg.ID]; ok {
		delete(m.waiting, *msg.ID)
		answer <- msg
	}
}

func (m *Monitor) end(err error) {
	m.conn.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	for id, answer := range m.waiting {
		delete(m.waiting, id)
		close(answer)
	}
	for s := range m.subs {
		s.finish(err)
	}
	clear(m.subs)
}
