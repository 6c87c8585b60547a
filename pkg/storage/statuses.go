package storage

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// A StorageStatus is how a storage does.
type StorageStatus struct {
	Definition
	Enabled bool  // not disabled, and for this node
	Active  bool  // ready for use
	Status        // how full it is, when it is active
	Err     error // why it is enabled but not active
}

// Statuses makes the storages ready and asks them how full they are: all at once, so
// that one that is dead delays the others by no more than its own deadline. It returns
// those that want lets through, in the order of their names; nil wants all. What is
// wrong with a storage is in its line.
func (s *Service) Statuses(ctx context.Context, want func(Definition) bool) ([]StorageStatus, error) {
	c, err := s.Config(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]StorageStatus, 0, len(c.Storages))
	for _, d := range c.Storages {
		if want == nil || want(d) {
			list = append(list, StorageStatus{Definition: d, Enabled: !d.Disabled && d.On(s.o.Node)})
		}
	}
	slices.SortFunc(list, func(a, b StorageStatus) int { return cmp.Compare(a.ID, b.ID) })
	var wg sync.WaitGroup
	for i := range list {
		if line := &list[i]; line.Enabled {
			wg.Go(func() {
				line.Status, line.Err = s.ask(ctx, line.Definition)
				line.Active = line.Err == nil
			})
		}
	}
	wg.Wait()
	return list, nil
}

// statusPatience is how long one storage may take where nothing else is said. Most are
// done in milliseconds; one may have to be mounted first.
const statusPatience = 10 * time.Second

// listPatience is how long a file system that is mounted may take to answer, when it is
// one of many that are asked.
const listPatience = 5 * time.Second

// asking is what is under way: a storage that hangs in spite of all is asked by one
// goroutine and no more, however often its status is wanted.
type asking struct {
	mu   sync.Mutex
	asks map[id.Storage]*ask
}

// An ask is one question to one storage.
type ask struct {
	since time.Time
	done  chan struct{} // closed when the rest is set
	st    Status
	err   error
}

// ask asks a storage, or waits with others for the answer to a question of theirs.
func (s *Service) ask(ctx context.Context, d Definition) (Status, error) {
	a := s.begin(ctx, d)
	// Who comes late to a question that nobody answers need not wait all over again.
	timeout := time.NewTimer(time.Until(a.since.Add(s.patience())))
	defer timeout.Stop()
	select {
	case <-a.done:
		return a.st, a.err
	case <-ctx.Done():
		return Status{}, fmt.Errorf("storage '%s': %w", d.ID, context.Cause(ctx))
	case <-timeout.C:
		return Status{}, fmt.Errorf("storage '%s' is not online: %w", d.ID, &NoAnswer{Since: a.since})
	}
}

// begin returns the question that is under way, or begins one.
func (s *Service) begin(ctx context.Context, d Definition) *ask {
	s.asking.mu.Lock()
	defer s.asking.mu.Unlock()
	if a := s.asking.asks[d.ID]; a != nil {
		return a
	}
	if s.asking.asks == nil {
		s.asking.asks = map[id.Storage]*ask{}
	}
	a := &ask{since: time.Now(), done: make(chan struct{})}
	s.asking.asks[d.ID] = a
	go func() {
		defer func() {
			s.asking.mu.Lock()
			delete(s.asking.asks, d.ID)
			s.asking.mu.Unlock()
			close(a.done)
		}()
		// Others may wait for the answer when the first one has given up. Who asks many at
		// once could not tell whose words were whose.
		ctx, cancel := context.WithTimeout(WithPatience(context.WithoutCancel(ctx), listPatience), s.patience())
		defer cancel()
		a.st, a.err = s.status(api.WithStreams(ctx, api.Streams{Out: io.Discard, Err: io.Discard}), d)
	}()
	return a
}

func (s *Service) status(ctx context.Context, d Definition) (Status, error) {
	p, err := s.open(d)
	if err != nil {
		return Status{}, err
	}
	if err := p.Activate(ctx); err != nil {
		return Status{}, err
	}
	return p.Status(ctx)
}

func (s *Service) patience() time.Duration {
	if s.o.StatusPatience > 0 {
		return s.o.StatusPatience
	}
	return statusPatience
}
