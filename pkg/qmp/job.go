package qmp

import (
	"context"
	"errors"
	"time"
)

// Job is a piece of work that QEMU does in the background: a block job, or the
// saving, loading or deleting of a snapshot.
type Job struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Status  string `json:"status"`
	Current int64  `json:"current-progress"`
	Total   int64  `json:"total-progress"`
	Error   string `json:"error"`
}

// Jobs lists the jobs QEMU has.
func (m *Monitor) Jobs(ctx context.Context) ([]Job, error) {
	var jobs []Job
	err := m.Call(ctx, "query-jobs", nil, &jobs)
	return jobs, err
}

// Watch follows one job, from before it begins until it has ended.
type Watch struct {
	id       string
	monitor  *Monitor
	events   *Subscription
	seen     bool
	ready    bool
	ended    bool
	stays    bool // concluded, but kept by QEMU until it is dismissed
	failure  error
	interval time.Duration
}

// WatchJob begins to follow the job of the given id (for block jobs without an
// id: the device). It is called before the command that starts the job, so that
// even a job which ends at once is seen to end.
func (m *Monitor) WatchJob(id string) *Watch {
	return &Watch{
		id: id, monitor: m, interval: time.Second,
		events: m.Subscribe("JOB_STATUS_CHANGE", "BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_ERROR"),
	}
}

// Close stops following; the job goes on.
func (w *Watch) Close() { w.events.Close() }

// RunJob runs a command that starts the job of the given id and waits for its
// end as Wait does.
func (m *Monitor) RunJob(ctx context.Context, id, command string, args any, progress func(Job)) error {
	w := m.WatchJob(id)
	defer w.Close()
	if err := m.Call(ctx, command, args, nil); err != nil {
		return err
	}
	if err := w.Wait(ctx, progress); err != nil {
		return &CallError{Command: command, Err: err}
	}
	return nil
}

// Ready waits until a mirror or commit job has caught up with its source, so
// that it can be completed. A job that ends before is an error.
func (w *Watch) Ready(ctx context.Context, progress func(Job)) error {
	if err := w.until(ctx, progress, func() bool { return w.ready }); err != nil {
		return err
	}
	if !w.ready {
		return errors.Join(errors.New("job ended before it was ready"), w.failure)
	}
	return nil
}

// Wait waits until the job has ended, and returns how: nil, ErrCancelled, or an
// *Error with QEMU's description. It calls progress, unless nil, with the job's
// state about once a second, and lets QEMU forget a job that is kept for its
// result. When ctx ends the job goes on: whoever does not want that cancels it.
func (w *Watch) Wait(ctx context.Context, progress func(Job)) error {
	if err := w.until(ctx, progress, func() bool { return false }); err != nil {
		return err
	}
	if w.stays {
		if err := w.monitor.Call(ctx, "job-dismiss", map[string]string{"id": w.id}, nil); err != nil && !gone(err) {
			return err
		}
	}
	return w.failure
}

// gone tells whether a command on a job failed because QEMU no longer has it.
func gone(err error) bool {
	_, answered := errors.AsType[*Error](err)
	return answered
}

// until follows events, and asks now and then, until enough says so or the job
// has ended.
func (w *Watch) until(ctx context.Context, progress func(Job), enough func() bool) error {
	for !w.ended && !enough() {
		step, cancel := context.WithTimeout(ctx, w.interval)
		e, err := w.events.Next(step)
		cancel()
		switch {
		case err == nil:
			if err := w.note(ctx, e); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return reason(ctx, nil)
		case errors.Is(err, ErrTimeout):
			if err := w.ask(ctx, progress); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// note takes in an event, if it is of this job.
func (w *Watch) note(ctx context.Context, e Event) error {
	var d struct{ ID, Device, Status, Error string }
	if err := e.Decode(&d); err != nil {
		return err
	}
	if d.ID != w.id && d.Device != w.id {
		return nil
	}
	w.seen = true
	switch e.Name {
	case "BLOCK_JOB_READY":
		w.ready = true
	case "BLOCK_JOB_CANCELLED":
		w.failure = ErrCancelled
	case "BLOCK_JOB_COMPLETED":
		if d.Error != "" {
			w.failure = &Error{Class: GenericError, Desc: d.Error}
		}
	case "JOB_STATUS_CHANGE":
		switch d.Status {
		case "ready":
			w.ready = true
		case "concluded":
			return w.conclude(ctx)
		case "null":
			w.ended, w.stays = true, false
		}
	}
	return nil
}

// conclude asks how a concluded job ended. Jobs that QEMU dismisses by itself
// are gone by now: their events have told.
func (w *Watch) conclude(ctx context.Context) error {
	w.ended = true
	job, err := w.find(ctx)
	if err != nil || job == nil {
		return err
	}
	w.stays = true
	w.fail(*job)
	return nil
}

func (w *Watch) fail(job Job) {
	if job.Error == "" || w.failure != nil {
		return
	}
	w.failure = &Error{Class: GenericError, Desc: job.Error}
	// This is all that QEMU says of a general job that was cancelled.
	if job.Error == "Operation canceled" || job.Error == "Operation cancelled" {
		w.failure = ErrCancelled
	}
}

// ask looks at the job itself, for its progress and because events may have been
// missed.
func (w *Watch) ask(ctx context.Context, progress func(Job)) error {
	job, err := w.find(ctx)
	if err != nil {
		return err
	}
	switch {
	case job == nil && !w.seen:
		return ErrNoJob
	case job == nil:
		w.ended = true
		return nil
	}
	w.seen = true
	switch job.Status {
	case "ready":
		w.ready = true
	case "concluded":
		w.ended, w.stays = true, true
		w.fail(*job)
	}
	if progress != nil {
		progress(*job)
	}
	return nil
}

func (w *Watch) find(ctx context.Context) (*Job, error) {
	jobs, err := w.monitor.Jobs(ctx)
	for _, j := range jobs {
		if j.ID == w.id {
			return &j, nil
		}
	}
	return nil, err
}
