package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// A prober asks programs in bounded time. A program that waits for a dead disk cannot
// even be killed: it is left behind, and not asked the same again until it is gone, so
// that there is never more than one for each question.
type prober struct {
	runner   run.Runner
	patience time.Duration
	warn     func(error)
	stuck    func() map[string]int // pids by command line

	mu     sync.Mutex
	faults []error // guarded by mu
}

// grace is how long a program has to end once its time is over.
const grace = time.Second

// errSlow marks a program that did not answer in time.
var errSlow = errors.New("no answer in time, a disk may hang")

// ask runs a program that only looks, and returns what it wrote. What came before a
// failure is returned too.
func (p *prober) ask(ctx context.Context, program string, args ...string) ([]byte, error) {
	c := run.Cmd{Path: program, Args: args, Env: []string{"LC_ALL=C"}, ReadOnly: true, Grace: grace}
	for _, name := range []string{commandLine(c), dying(c.Name())} {
		if pid, ok := p.stuck()[name]; ok {
			return nil, fmt.Errorf("%s: process %d still waits for an answer: %w", c, pid, errSlow)
		}
	}
	limit, cancel := context.WithTimeoutCause(ctx, p.patience, errSlow)
	defer cancel()
	type answer struct {
		text []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() { // outlives us only with a program that cannot be killed
		text, err := run.OutputOf(limit, p.runner, c)
		done <- answer{text, err}
	}()
	select {
	case a := <-done:
		return a.text, a.err
	case <-limit.Done():
	}
	dying := time.NewTimer(2 * grace)
	defer dying.Stop()
	select {
	case a := <-done:
		return a.text, a.err
	case <-dying.C:
		return nil, fmt.Errorf("%s: %w", c, context.Cause(limit))
	}
}

// tell keeps a fault until it can be told. A program that is not installed is none.
func (p *prober) tell(err error) {
	if err == nil || errors.Is(err, exec.ErrNotFound) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, err)
}

// warnSlow tells of a disk that does not answer; that one has no SMART is no news.
func (p *prober) warnSlow(err error) {
	if errors.Is(err, errSlow) {
		p.tell(err)
	}
}

// told passes on what was kept.
func (p *prober) told() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, err := range p.faults {
		p.warn(err)
	}
	p.faults = nil
}

func commandLine(c run.Cmd) string {
	return strings.Join(append([]string{c.Path}, c.Args...), "\x00")
}

// dying stands for the command line of a process that has been killed and still waits:
// the kernel has taken that away already, as from pvs in the middle of reading. Only its
// name is left, which is enough for whoever asks one question of all disks; smartctl,
// which asks one disk, waits in a way that keeps its command line.
func dying(name string) string { return "(" + name + ")" }

// stuckCommands lists the processes, by their command lines, that have waited for a
// device for longer than that takes, and cannot be killed.
func stuckCommands(proc string, patience time.Duration) map[string]int {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	stuck := map[string]int{}
	now := secondsOf(firstLine(proc, "uptime"))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		name, since, waits := parseStat(line(dir, "stat"))
		if !waits || now-since < patience.Seconds() {
			continue
		}
		switch text, err := os.ReadFile(filepath.Join(dir, "cmdline")); {
		case err != nil:
		case len(text) > 0:
			stuck[strings.TrimSuffix(string(text), "\x00")] = pid
		case name != "smartctl":
			stuck[dying(name)] = pid
		}
	}
	return stuck
}

// parseStat reads from /proc/N/stat the name of a process, when it was started, in
// seconds since the machine was, and whether it waits for a device.
func parseStat(text string) (name string, since float64, waits bool) {
	// The name, in parentheses, may have any character.
	begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return "", 0, false
	}
	fields := strings.Fields(text[end+1:]) // from the third on
	const state, starttime, ticks = 0, 19, 100
	if len(fields) <= starttime || fields[state] != "D" {
		return "", 0, false
	}
	n, err := strconv.ParseFloat(fields[starttime], 64)
	return text[begin+1 : end], n / ticks, err == nil
}

func secondsOf(uptime string) float64 {
	first, _, _ := strings.Cut(uptime, " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return n
}
