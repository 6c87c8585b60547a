package storage_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

// fickle is a type whose storages do what their mood says.
type fickle struct {
	storage.Pool
	mood  string
	asked *atomic.Int32
}

type fickleConfig struct {
	storage.Common
	Mood string `pve:"mood" doc:"What it does."`
}

var errBroken = errors.New("it is broken")

func (f fickle) Activate(ctx context.Context) error {
	f.asked.Add(1)
	switch f.mood {
	case "broken":
		return errBroken
	case "slow":
		time.Sleep(time.Second)
	case "dead": // and deaf to the end of its context
		time.Sleep(time.Hour)
	case "hangs":
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (f fickle) Status(context.Context) (storage.Status, error) {
	return storage.Status{Total: 3, Used: 1, Available: 2}, nil
}

func fickles(moods ...string) (*storage.Service, *atomic.Int32) {
	asked := &atomic.Int32{}
	text := ""
	for i, mood := range moods {
		text = fmt.Sprintf("fickle: s%02d\n\tmood %s\n\n", i, mood) + text // the last one first
		if mood == "disabled" {
			text = strings.Replace(text, "\n\n", "\n\tdisable\n\n", 1)
		}
	}
	t := storage.NewType(storage.Type{Name: "fickle", Contents: storage.AllContents()},
		func(c fickleConfig, _ storage.Env) (storage.Pool, error) {
			return fickle{mood: c.Mood, asked: asked}, nil
		})
	return storage.New(storage.Options{
		Node: "pve1", Runner: run.Host{}, Types: []storage.Type{t},
		Config: func(context.Context) (string, error) { return text, nil },
	}), asked
}

// TestStatuses: each storage has its line, and one that is dead delays no other.
func TestStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := fickles("fine", "broken", "disabled", "hangs", "slow", "dead")
		begun := time.Now()
		list, err := s.Statuses(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
		full := storage.Status{Total: 3, Used: 1, Available: 2}
		for i, want := range []struct {
			enabled, active bool
			err             string
		}{
			{true, true, ""}, {true, false, "it is broken"}, {false, false, ""},
			{true, false, "storage 's03' is not online: no answer since 2000-01-01 00:00:00"},
			{true, true, ""}, {true, false, "storage 's05' is not online: no answer since 2000-01-01 00:00:00"},
		} {
			l := list[i]
			if string(l.ID) != fmt.Sprintf("s%02d", i) || l.Enabled != want.enabled || l.Active != want.active || l.Active != (l.Status == full) {
				t.Errorf("line %d: %+v", i, l)
			}
			// Both the deadline and the end of the context may come first.
			if got := fmt.Sprint(l.Err); want.err == "" && l.Err != nil || want.err != "" && got != want.err && !errors.Is(l.Err, context.DeadlineExceeded) {
				t.Errorf("line %d: %s", i, got)
			}
		}
		// One that is asked in vain is not asked again, and not waited for again.
		before := asked.Load()
		begun = time.Now()
		list, err = s.Statuses(t.Context(), func(d storage.Definition) bool { return d.ID == "s05" })
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if _, ok := errors.AsType[*storage.NoAnswer](list[0].Err); !ok || asked.Load() != before || time.Since(begun) > time.Second {
			t.Errorf("asked %d times, took %s, said %v", asked.Load()-before, time.Since(begun), list[0].Err)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestStatusesTogether: many who want the same status are told one answer.
func TestStatusesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := fickles("slow")
		done := make(chan error)
		for range 20 {
			go func() {
				list, err := s.Statuses(t.Context(), nil)
				done <- errors.Join(err, list[0].Err)
			}()
		}
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if asked.Load() != 1 {
			t.Errorf("asked %d times", asked.Load())
		}
	})
}

// manyFolders is a service with a thousand storages, half of them disabled.
func manyFolders(dirs string) *storage.Service {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "dir: d%d\n\tpath %s\n\tcontent images,iso\n", i, filepath.Join(dirs, fmt.Sprint(i%50)))
		if i%2 == 0 {
			text.WriteString("\tdisable\n")
		}
		text.WriteString("\n")
	}
	return storage.New(storage.Options{
		Root: filepath.Join(dirs, "root"), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{dir.Type()},
		Config: func(context.Context) (string, error) { return text.String(), nil },
	})
}

// TestManyStatuses: a thousand definitions are all told.
func TestManyStatuses(t *testing.T) {
	list, err := manyFolders(t.TempDir()).Statuses(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1001 { // local is always there
		t.Errorf("%d lines", len(list))
	}
	for _, l := range list {
		if l.ID != "local" && (l.Enabled == l.Disabled || l.Active != l.Enabled || l.Active != (l.Total > 0)) {
			t.Errorf("%+v", l)
		}
	}
}

func BenchmarkStatuses(b *testing.B) {
	dirs := b.TempDir()
	for b.Loop() {
		if _, err := manyFolders(dirs).Statuses(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
