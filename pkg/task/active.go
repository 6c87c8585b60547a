package task

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
)

const (
	keepEnded    = 25          // entries of active, as long as so many do not run
	indexTurns   = 50000       // bytes after which the index becomes index.1
	listLimit    = 16 << 20    // no list is larger
	listPatience = time.Minute // for the short work of others, not for a task
)

// Entry is one task in a list.
type Entry struct {
	Task   id.Task
	End    int64  // seconds since the epoch; 0: it runs
	Status string // empty: it runs
	saved  bool   // the index has it
}

// Active returns the tasks of this node that run and the last ones that have
// ended, newest first. What a killed worker could not put down is put down now.
func (h *Host) Active(ctx context.Context) ([]Entry, error) {
	return h.update(ctx, nil)
}

// update brings the list up to date under its lock: ended tasks get their result,
// in the index too, and add is put in front.
func (h *Host) update(ctx context.Context, add *id.Task) ([]Entry, error) {
	lock, err := file.Acquire(ctx, h.dir(".active.lock"), file.LockOptions{Patience: listPatience, What: "task list"})
	if err != nil {
		if add != nil || !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("task list: %w", err)
		}
		// Who may only look still sees how things are.
		entries, _, _, err := h.readActive()
		return entries, err
	}
	defer lock.Release() //nolint:errcheck // closing a lock file cannot lose anything
	entries, ended, changed, err := h.readActive()
	if err != nil {
		return nil, err
	}
	if add != nil {
		entries = slices.Insert(entries, 0, Entry{Task: *add})
		changed = true
	}
	if !changed {
		return entries, nil
	}
	// The index comes first: an entry that is there twice is better than one that is
	// nowhere.
	if h.appendIndex(ended) == nil {
		for i := range entries {
			entries[i].saved = entries[i].Status != ""
		}
	}
	entries = trim(entries)
	// Not a wait for the disk under a lock that every start and end of a task takes: after
	// a power failure no task of the list runs, and the index has those that had ended.
	if err := file.Replace(h.dir("active"), formatActive(entries), 0o644); err != nil && add != nil {
		return nil, fmt.Errorf("task list: %w", err)
	}
	return entries, nil
}

// readActive reads the list and completes it. ended are those that the index lacks.
func (h *Host) readActive() (entries, ended []Entry, changed bool, err error) {
	text, err := file.ReadOptional(h.dir("active"), listLimit)
	if err != nil {
		return nil, nil, false, fmt.Errorf("task list: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		e, ok := parseActive(line)
		if !ok {
			changed = true // a damaged line goes
			continue
		}
		if e.Status == "" {
			h.settle(&e)
		}
		if e.Status != "" && !e.saved {
			ended = append(ended, e)
			changed = true
		}
		entries = append(entries, e)
	}
	return entries, ended, changed, nil
}

// settle finds out whether and how an open task has ended.
func (h *Host) settle(e *Entry) {
	status := h.state(e.Task)
	if status.Running {
		return
	}
	e.Status = status.Exit
	if e.End == 0 {
		e.End = h.now().Unix()
		if info, err := os.Stat(h.LogPath(e.Task)); err == nil {
			e.End = info.ModTime().Unix()
		}
	}
}

// trim keeps all that runs, and of the rest the newest.
func trim(entries []Entry) []Entry {
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(b.Task.StartTime, a.Task.StartTime) })
	room := keepEnded
	for _, e := range entries {
		if e.Status == "" {
			room--
		}
	}
	return slices.DeleteFunc(entries, func(e Entry) bool {
		if e.Status == "" {
			return false
		}
		room--
		return room < 0
	})
}

func formatActive(entries []Entry) []byte {
	var b strings.Builder
	for _, e := range entries {
		saved := 0
		if e.saved {
			saved = 1
		}
		fmt.Fprintf(&b, "%s %d", e.Task, saved)
		if e.Status != "" {
			fmt.Fprintf(&b, " %08X %s", e.End, e.Status)
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

func parseActive(line string) (Entry, bool) {
	f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
	if len(f) < 2 || f[1] != "0" && f[1] != "1" {
		return Entry{}, false
	}
	t, err := id.ParseTask(f[0])
	if err != nil {
		return Entry{}, false
	}
	e := Entry{Task: t, saved: f[1] == "1"}
	if len(f) > 2 {
		if e.End, err = strconv.ParseInt(f[2], 16, 64); err != nil {
			return Entry{}, false
		}
	}
	if len(f) > 3 {
		e.Status = f[3]
	}
	switch {
	case e.Status != "":
	case e.saved:
		e.Status = Unexpected
	default:
		e.End = 0 // how it ended is to be found out
	}
	return e, true
}

// appendIndex puts ended tasks at the end of the list that is for good.
func (h *Host) appendIndex(ended []Entry) error {
	if len(ended) == 0 {
		return nil
	}
	f, err := os.OpenFile(h.dir("index"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	slices.SortStableFunc(ended, func(a, b Entry) int { return cmp.Compare(a.End, b.End) })
	var b strings.Builder
	for _, e := range ended {
		fmt.Fprintf(&b, "%s %08X %s\n", e.Task, e.End, e.Status)
	}
	info, err := f.Stat()
	if err == nil {
		// All of it or nothing: half a line would damage the next one too.
		if _, err = f.WriteString(b.String()); err != nil {
			_ = f.Truncate(info.Size())
		} else if info.Size()+int64(b.Len()) > indexTurns {
			err = os.Rename(h.dir("index"), h.dir("index.1"))
		}
	}
	return errors.Join(err, f.Close())
}

// Archive walks the tasks of this node that have ended, the last one first, as far
// back as the lists go.
func (h *Host) Archive() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, name := range []string{"index", "index.1"} {
			text, err := file.ReadOptional(h.dir(name), listLimit)
			if err != nil {
				yield(Entry{}, fmt.Errorf("task list: %w", err))
				return
			}
			for line := range backwards(string(text)) {
				if e, ok := parseIndex(line); ok && !yield(e, nil) {
					return
				}
			}
		}
	}
}

func parseIndex(line string) (Entry, bool) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 {
		return Entry{}, false
	}
	t, err := id.ParseTask(f[0])
	if err != nil {
		return Entry{}, false
	}
	end, err := strconv.ParseInt(f[1], 16, 64)
	return Entry{Task: t, End: end, Status: f[2], saved: true}, err == nil
}

// backwards walks the lines of text from the last to the first.
func backwards(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		text = strings.TrimSuffix(text, "\n")
		for text != "" {
			at := strings.LastIndexByte(text, '\n')
			if !yield(text[at+1:]) || at < 0 {
				return
			}
			text = text[:at]
		}
	}
}
