package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxEvents is how many events a subscription keeps for a reader that is slow;
// beyond them the oldest go, and Missed counts them.
const maxEvents = 4096

// Event is something QEMU tells unasked.
type Event struct {
	Name string
	Data json.RawMessage
	Time time.Time
}

// Decode reads the event's data into v.
func (e Event) Decode(v any) error {
	if len(e.Data) == 0 {
		return nil
	}
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("read event %s: %w", e.Name, err)
	}
	return nil
}

// Subscription collects events from the moment it was made. A reader that is
// slow, or absent, holds up nobody.
type Subscription struct {
	monitor *Monitor
	names   []string

	mu     sync.Mutex
	queue  []Event
	missed int
	err    error
	wake   chan struct{} // holds a token when there is something new
}

// Subscribe begins to collect the events of the given names, or all if none is
// given. To see what a command causes, subscribe before calling it.
func (m *Monitor) Subscribe(names ...string) *Subscription {
	s := &Subscription{monitor: m, names: names, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		s.finish(m.err)
		return s
	}
	m.subs[s] = struct{}{}
	return s
}

func (s *Subscription) put(e Event) {
	if len(s.names) > 0 && !slices.Contains(s.names, e.Name) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= maxEvents {
		s.queue = s.queue[1:]
		s.missed++
	}
	s.queue = append(s.queue, e)
	s.signal()
}

func (s *Subscription) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next returns the next event, waiting for it if need be. After the last event
// of a connection that has ended it returns why; ErrTimeout when ctx runs out.
// Only one goroutine at a time may wait.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		e, ok, err := s.take()
		if ok || err != nil {
			return e, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Event{}, reason(ctx, nil)
		}
	}
}

func (s *Subscription) take() (Event, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return Event{}, false, s.err
	}
	e := s.queue[0]
	s.queue = s.queue[1:]
	return e, true, nil
}

// Wait returns the first event that match accepts, and drops those before it.
func (s *Subscription) Wait(ctx context.Context, match func(Event) bool) (Event, error) {
	for {
		e, err := s.Next(ctx)
		if err != nil || match(e) {
			return e, err
		}
	}
}

// Missed returns how many events were dropped because the reader was too slow.
func (s *Subscription) Missed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missed
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.monitor.mu.Lock()
	delete(s.monitor.subs, s)
	s.monitor.mu.Unlock()
	s.finish(ErrClosed)
}
