package iscsidirect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A lun is one line of a target's list.
type lun struct {
	number int
	about  int64 // its size, cut off to a whole number of its unit
}

// ask runs a program of libiscsi, which waits for ever for a portal that does not
// answer.
func (p *pool) ask(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, fmt.Errorf("portal '%s' does not answer: gave up after %s", p.portal, p.patience))
	defer cancel()
	if p.initiator != "" {
		args = append([]string{"-i", p.initiator}, args...)
	}
	out, err := run.OutputOf(ctx, p.Runner, run.Cmd{Path: program, Args: args, Env: []string{"LC_ALL=C"}, ReadOnly: true, Grace: time.Second})
	return string(out), err
}

// luns lists the disks of the target. The program goes through all targets of the
// portal, and ends at the first that does not let us in: what it has told before counts,
// when it is all of ours.
func (p *pool) luns(ctx context.Context) ([]lun, error) {
	text, err := p.ask(ctx, "iscsi-ls", "-s", "iscsi://"+p.portal)
	l := parseList(text, p.target)
	switch {
	case err != nil && (!l.found || !l.whole):
		return nil, fmt.Errorf("LUNs of target '%s' at portal '%s': %w", p.target, p.portal, err)
	case !l.found:
		return nil, p.noTarget()
	}
	return l.luns, nil
}

func (p *pool) noTarget() error {
	return fmt.Errorf("target '%s' is not there at portal '%s', or not for initiator '%s'", p.target, p.portal, p.initiator)
}

// A listing is what iscsi-ls tells of one target.
type listing struct {
	luns  []lun
	found bool // the target was told of
	whole bool // and another after it
}

var (
	targetLine = regexp.MustCompile(`^Target:(\S+)\s+Portal:`)
	lunLine    = regexp.MustCompile(`^Lun:(\d{1,9})\s+Type:DIRECT_ACCESS(?:\s+\(Size:([0-9.]*) ?([kMGT]?)\))?`)
)

// parseList reads what iscsi-ls prints:
//
//	Target:iqn.2003-01.org.example:disks Portal:192.0.2.5:3260,1
//	Lun:1    Type:DIRECT_ACCESS (Size:19M)
func parseList(text, target string) listing {
	var l listing
	seen := map[int]bool{} // a target that is reached in several ways is told of several times
	ours := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := targetLine.FindStringSubmatch(line); m != nil {
			ours = m[1] == target
			l.found, l.whole = l.found || ours, l.found && !ours
			continue
		}
		m := lunLine.FindStringSubmatch(line)
		if m == nil || !ours {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		if !seen[n] {
			seen[n] = true
			l.luns = append(l.luns, lun{n, bytesOf(m[2], m[3])})
		}
	}
	return l
}

// bytesOf reads a size like 19M.
func bytesOf(text, unit string) int64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	if unit != "" {
		n *= float64(int64(1) << (10 * (1 + strings.Index("kMGT", unit))))
	}
	if n > math.MaxInt64/2 {
		return 0
	}
	return int64(n)
}

// capacity asks a LUN for its size.
func (p *pool) capacity(ctx context.Context, lun int) (int64, error) {
	text, err := p.ask(ctx, "iscsi-readcapacity16", "-s", p.address(lun))
	if e, ok := errors.AsType[*run.Error](err); ok {
		switch {
		case strings.Contains(e.Stderr, "LOGICAL_UNIT_NOT_SUPPORTED"):
			return 0, storage.ErrNotExist
		case strings.Contains(e.Stderr, "Target not found"):
			return 0, p.noTarget()
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p.address(lun), err)
	}
	size, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("%s: size that cannot be read: %q", p.address(lun), strings.TrimSpace(text))
	}
	return size, nil
}
