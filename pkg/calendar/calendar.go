// Package calendar reads calendar events and tells when they are next due.
//
// An event is written as systemd's, in the part of that grammar that Proxmox VE takes:
//
//	[WEEKDAYS] [[YEARS-]MONTHS-DAYS] [HOURS:]MINUTES[:SECONDS] [UTC]
//
// or a word such as daily. Each part is * or a list of numbers, ranges (1..5) and
// steps (0/15, 8..18/2). Week days are names, their ranges may wrap (fri..mon). A number
// alone means minutes. Without a time an event is due at midnight, without UTC in the
// time zone of the node.
package calendar

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Event is a set of points in time. The zero value has none.
type Event struct {
	utc      bool
	weekdays set // bit 0 is Sunday
	years    []span
	months   set
	days     set
	hours    set
	minutes  set
	seconds  set
}

// set holds small numbers, one bit each.
type set uint64

func (s set) has(n int) bool { return s>>n&1 == 1 }

// span is a range of numbers with a step.
type span struct{ first, last, step int }

func (s span) has(n int) bool {
	return s.first <= n && n <= s.last && (n-s.first)%s.step == 0
}

// words are the events that have a name.
func words(name string) (string, bool) {
	switch strings.ToLower(name) {
	case "minutely":
		return "*:*:00", true
	case "hourly":
		return "*:00:00", true
	case "daily":
		return "*-*-* 00:00:00", true
	case "weekly":
		return "mon *-*-* 00:00:00", true
	case "monthly":
		return "*-*-01 00:00:00", true
	case "yearly", "annually":
		return "*-01-01 00:00:00", true
	case "quarterly":
		return "*-01,04,07,10-01 00:00:00", true
	case "semiannually", "semi-annually":
		return "*-01,07-01 00:00:00", true
	}
	return "", false
}

var (
	errEmpty  = errors.New("unable to parse calendar event - event is empty")
	errUnused = errors.New("unable to parse calendar event - unused parts")
)

// What a field may hold. Years end where 32 bits of anything else long have.
var (
	yearRange   = span{1970, 2199, 1}
	monthRange  = span{1, 12, 1}
	dayRange    = span{1, 31, 1}
	hourRange   = span{0, 23, 1}
	minuteRange = span{0, 59, 1}
)

// Parse reads an event.
func Parse(text string) (Event, error) {
	parts := strings.Fields(text)
	if len(parts) == 0 {
		return Event{}, errEmpty
	}
	e := Event{
		weekdays: 1<<7 - 1,
		years:    []span{yearRange}, months: all(monthRange), days: all(dayRange),
		hours: 1, minutes: 1, seconds: 1,
	}
	if last := len(parts) - 1; last > 0 && strings.EqualFold(parts[last], "UTC") {
		e.utc, parts = true, parts[:last]
	}
	if spec, ok := words(parts[0]); ok && len(parts) == 1 {
		parts = strings.Fields(spec)
	}
	readers := []struct {
		is   func(string) bool
		read func(*Event, string) error
	}{
		{func(p string) bool { c := p[0] | 0x20; return 'a' <= c && c <= 'z' }, (*Event).readWeekdays},
		{func(p string) bool { return strings.Contains(p, "-") }, (*Event).readDate},
		{func(string) bool { return true }, (*Event).readTime},
	}
	for _, r := range readers {
		if len(parts) == 0 || !r.is(parts[0]) {
			continue
		}
		if err := r.read(&e, parts[0]); err != nil {
			return Event{}, err
		}
		parts = parts[1:]
	}
	if len(parts) > 0 {
		return Event{}, errUnused
	}
	return e, nil
}

var weekdayNames = [7][]string{
	{"sun", "sunday"},
	{"mon", "monday"},
	{"tue", "tues", "tuesday"},
	{"wed", "wednesday"},
	{"thu", "thur", "thurs", "thursday"},
	{"fri", "friday"},
	{"sat", "saturday"},
}

func weekday(name string) (int, error) {
	for day, names := range weekdayNames {
		for _, n := range names {
			if strings.EqualFold(n, name) {
				return day, nil
			}
		}
	}
	return 0, fmt.Errorf("unable to parse weekday '%s'", name)
}

func (e *Event) readWeekdays(list string) error {
	e.weekdays = 0
	for item := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(item, "..")
		if !isRange {
			to = from
		}
		first, err := weekday(from)
		if err != nil {
			return err
		}
		last, err := weekday(to)
		if err != nil {
			return err
		}
		for day := first; ; day = (day + 1) % 7 {
			e.weekdays |= 1 << day
			if day == last {
				break
			}
		}
	}
	return nil
}

func (e *Event) readDate(date string) (err error) {
	parts := strings.Split(date, "-")
	switch len(parts) {
	case 3:
		if e.years, err = readList(parts[0], yearRange); err != nil {
			return err
		}
		parts = parts[1:]
	case 2:
	default:
		return fmt.Errorf("unable to parse date '%s'", date)
	}
	return readSets(parts, []*set{&e.months, &e.days}, []span{monthRange, dayRange})
}

func (e *Event) readTime(text string) error {
	parts := strings.Split(text, ":")
	switch len(parts) {
	case 1: // minutes of any hour
		e.hours = all(hourRange)
		return readSets(parts, []*set{&e.minutes}, []span{minuteRange})
	case 2, 3:
		return readSets(parts, []*set{&e.hours, &e.minutes, &e.seconds}, []span{hourRange, minuteRange, minuteRange})
	}
	return fmt.Errorf("unable to parse time '%s'", text)
}

func readSets(parts []string, into []*set, bounds []span) error {
	for i, part := range parts {
		spans, err := readList(part, bounds[i])
		if err != nil {
			return err
		}
		*into[i] = 0
		for _, s := range spans {
			*into[i] |= all(s)
		}
	}
	return nil
}

// all returns the numbers of a span.
func all(s span) (numbers set) {
	for n := s.first; n <= s.last; n += s.step {
		numbers |= 1 << n
	}
	return numbers
}

// readList reads numbers, ranges and steps within bounds.
func readList(list string, bounds span) ([]span, error) {
	var spans []span
	for item := range strings.SplitSeq(list, ",") {
		s, err := readItem(item, bounds)
		if err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
	return spans, nil
}

func readItem(item string, bounds span) (span, error) {
	body, step, hasStep := strings.Cut(item, "/")
	s := span{bounds.first, bounds.last, 1}
	var err error
	if hasStep {
		if s.step, err = number(step); err != nil {
			return s, err
		}
		if s.step < 1 || s.step > bounds.last {
			return s, fmt.Errorf("repetition '%s' out of range", step)
		}
	}
	if body == "*" {
		return s, nil
	}
	from, to, isRange := strings.Cut(body, "..")
	if s.first, err = number(from); err != nil {
		return s, err
	}
	if s.first < bounds.first || s.first > bounds.last {
		return s, fmt.Errorf("value '%s' out of range", from)
	}
	switch {
	case isRange:
		if s.last, err = number(to); err != nil {
			return s, err
		}
		if s.last > bounds.last {
			return s, fmt.Errorf("range end '%s' out of range", to)
		}
		if s.last < s.first {
			return s, fmt.Errorf("wrong order in range '%s'", body)
		}
	case !hasStep:
		s.last = s.first
	}
	return s, nil
}

func number(s string) (int, error) {
	if s == "" || len(s) > 4 || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("unable to parse number '%s'", s)
	}
	return strconv.Atoi(s)
}

// hasDate tells whether the event may be due on that day.
func (e Event) hasDate(year int, month time.Month, day int, weekday time.Weekday) bool {
	if !e.weekdays.has(int(weekday)) || !e.months.has(int(month)) || !e.days.has(day) {
		return false
	}
	for _, s := range e.years {
		if s.has(year) {
			return true
		}
	}
	return false
}
