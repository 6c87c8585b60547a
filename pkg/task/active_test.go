package task

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
)

func TestActiveKeeps(t *testing.T) {
	var entries []Entry
	for n := range 40 {
		e := Entry{Task: id.Task{Node: "pve1", PID: n, StartTime: int64(n), Type: "x", User: "u"}, End: 99, Status: "OK", saved: true}
		if n < 3 {
			e.Status, e.End, e.saved = "", 0, false // old, but it runs
		}
		entries = append(entries, e)
	}
	kept := trim(entries)
	if len(kept) != keepEnded || kept[0].Task.PID != 39 || kept[len(kept)-1].Task.PID != 0 || kept[21].Task.PID != 18 {
		t.Errorf("%d kept: %v", len(kept), kept)
	}
	for n, line := range strings.Split(strings.TrimSpace(string(formatActive(kept))), "\n") {
		if e, ok := parseActive(line); !ok || e != kept[n] {
			t.Errorf("%q reads as %v", line, e)
		}
	}
}

func TestDamagedActiveList(t *testing.T) {
	h := newHost(t)
	task, err := h.Here(t.Context(), spec("say"), os.Stderr, labour)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(h.dir("active"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := "\x00garbage\n" + string(text) + "UPID:pve1:half a li"
	if err := os.WriteFile(h.dir("active"), []byte(damaged), 0o644); err != nil {
		t.Fatal(err)
	}
	wantLists(t, h, task, "OK")
}

func TestIndexTurns(t *testing.T) {
	h := newHost(t)
	if err := os.MkdirAll(h.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	var ended []Entry
	for n := range 2000 {
		ended = append(ended, Entry{Task: id.Task{Node: "pve1", PID: n, StartTime: int64(n), Type: "x", User: "u"}, End: int64(n), Status: "OK"})
	}
	for part := range 20 {
		if err := h.appendIndex(ended[100*part : 100*(part+1)]); err != nil {
			t.Fatal(err)
		}
	}
	next := 1999
	for e, err := range h.Archive() {
		if err != nil || e.Task.PID != next {
			t.Fatalf("%v, %v, want %d", e, err, next)
		}
		next--
	}
	if next > 1000 || next < 0 {
		t.Errorf("%d were dropped", next+1)
	}
	if info, err := os.Stat(h.dir("index.1")); err != nil || info.Size() < indexTurns {
		t.Errorf("index.1: %v, %v", info, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	h := newHost(t)
	const many = 20
	var wg sync.WaitGroup
	for n := range many {
		wg.Go(func() {
			s := spec("say", "text", "hello\n")
			s.ID = fmt.Sprint(n)
			var out strings.Builder
			if _, err := h.Run(t.Context(), s, &out); err != nil || out.String() != "hello\n" {
				t.Errorf("%q, %v", out.String(), err)
			}
		})
	}
	wg.Wait()
	seen := map[id.Task]int{}
	for e, err := range h.Archive() {
		if err != nil {
			t.Error(err)
		}
		seen[e.Task]++
	}
	if len(seen) != many {
		t.Errorf("%d tasks in the index", len(seen))
	}
	for task, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", task, n)
		}
	}
}

func TestFollowerHoldsBackOnlyTheResult(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"result":              {"a\nTASK OK\n", "a\n"},
		"error":               {"TASK ERROR: x\n", ""},
		"no result":           {"a\nTASK FORCE\n", "a\nTASK FORCE\n"},
		"unfinished":          {"a\nTAS", "a\nTAS"},
		"in the middle":       {"a\nTASK OK\nb\n", "a\nTASK OK\nb\n"},
		"not at a line start": {"xTASK OK\n", "xTASK OK\n"},
		"blank lines":         {"\n\n\n", "\n\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for size := 1; size <= len(c.in); size++ {
				var out strings.Builder
				f := &follower{out: &out}
				for rest := c.in; rest != ""; rest = rest[min(size, len(rest)):] {
					if _, err := f.Write([]byte(rest[:min(size, len(rest))])); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.flush(); err != nil {
					t.Fatal(err)
				}
				if out.String() != c.want {
					t.Errorf("in parts of %d: %q, want %q", size, out.String(), c.want)
				}
			}
		})
	}
}

func TestWarningsInParts(t *testing.T) {
	const text = "WARN: one\nno WARN: here\n\nWARN: two\nWARN:three\nWARN: "
	for size := 1; size <= len(text); size++ {
		l := &Log{}
		for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
			l.count([]byte(rest[:min(size, len(rest))]))
		}
		if l.Warnings() != 3 {
			t.Errorf("in parts of %d: %d", size, l.Warnings())
		}
	}
}

func FuzzParseActive(f *testing.F) {
	f.Add("UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:100:root@pam: 1 68BF3A42 OK\n")
	f.Add("UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:100:root@pam: 0\n")
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := parseActive(line)
		if !ok || strings.Contains(e.Status, "\n") {
			return
		}
		if again, ok := parseActive(string(formatActive([]Entry{e}))); !ok || again != e {
			t.Errorf("%q: %v, then %v", line, e, again)
		}
	})
}

func BenchmarkWorker(b *testing.B) {
	root := b.TempDir()
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	h := &Host{Root: root, Node: "pve1", Command: []string{path, "task-worker", root}}
	for b.Loop() {
		if _, err := h.Run(b.Context(), spec("say", "text", "hello\n"), &strings.Builder{}); err != nil {
			b.Fatal(err)
		}
	}
}
