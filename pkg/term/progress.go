package term

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Progress shows how far a transfer of a known size is. Its methods are for one
// goroutine.
type Progress interface {
	// Set tells how many bytes are done. What is less than before is ignored.
	Set(done int64)
	// Done ends the display: nothing is written afterwards.
	Done()
}

// NewProgress shows a bar where w is a terminal, else lines as task logs have them. name
// stands before a bar and may be empty.
func NewProgress(w io.Writer, name string, total int64) Progress {
	if IsTerminal(w) {
		return newBar(w, name, total)
	}
	return &lineProgress{w: w, total: total, now: time.Now}
}

// NewProgressLines shows lines wherever w leads, with the time taken from now.
func NewProgressLines(w io.Writer, total int64, now func() time.Time) Progress {
	return &lineProgress{w: w, total: total, now: now}
}

// lineProgress writes a line at the start, at the end, and between them when a hundredth
// more is done, though not more often than once a second.
type lineProgress struct {
	w     io.Writer
	total int64
	now   func() time.Time

	done    int64
	written bool
	percent int
	last    time.Time
}

func (p *lineProgress) Set(done int64) {
	done = min(done, p.total)
	if p.written && done <= p.done {
		return
	}
	p.done = done
	percent, now := int(fraction(done, p.total)*100), p.now()
	if p.written && done < p.total && (percent == p.percent || now.Sub(p.last) < time.Second) {
		return
	}
	p.written, p.percent, p.last = true, percent, now
	// A log that cannot be written must not stop the transfer.
	_, _ = fmt.Fprintln(p.w, TransferLine(done, p.total))
}

func (p *lineProgress) Done() {}

// TransferLine reads "transferred 1.0 MiB of 16.0 MiB (6.25%)".
func TransferLine(done, total int64) string {
	return fmt.Sprintf("transferred %s of %s (%.2f%%)", bytes(done), bytes(total), fraction(done, total)*100)
}

func fraction(done, total int64) float64 {
	if total <= 0 {
		return 1
	}
	return float64(done) / float64(total)
}

// bytes writes a size with one digit behind the point.
func bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for math.Abs(f) >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i]
}

// barProgress is a bar on a terminal.
type barProgress struct {
	all *mpb.Progress
	bar *mpb.Bar
}

func newBar(w io.Writer, name string, total int64) *barProgress {
	options := []mpb.ContainerOption{mpb.WithOutput(w), mpb.WithRefreshRate(100 * time.Millisecond)}
	if columns, _, ok := Size(w); ok {
		options = append(options, mpb.WithWidth(columns))
	}
	before := decor.CountersKibiByte("% .1f of % .1f ")
	if name != "" {
		name += " "
	}
	p := mpb.New(options...)
	return &barProgress{all: p, bar: p.AddBar(total,
		mpb.PrependDecorators(decor.Name(name), before),
		mpb.AppendDecorators(decor.NewPercentage(" % .1f"), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)),
	)}
}

func (p *barProgress) Set(done int64) {
	if done > p.bar.Current() {
		p.bar.SetCurrent(done)
	}
}

// Done leaves the bar as it stands: a full one says that all went well.
func (p *barProgress) Done() {
	p.bar.Abort(false)
	p.all.Wait()
}

var (
	_ Progress = (*lineProgress)(nil)
	_ Progress = (*barProgress)(nil)
)
