package calendar

import "time"

// Next returns the first time after the given one at which the event is due, and
// whether there is one. Unless the event says UTC, it is due in the time zone of after.
//
// Where clocks are changed, an event that is due in every hour goes on with real time.
// One with certain hours is due once: a time that is skipped that day is due at the
// moment of the change, one that comes twice the first time.
func (e Event) Next(after time.Time) (time.Time, bool) {
	zone := after.Location()
	in := after
	if e.utc {
		in = after.UTC()
	}
	year, month, day := in.Date()
	for year <= yearRange.last {
		// Noon exists on every day, in every zone; it is only a way to count days.
		noon := time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
		year, month, day = noon.Date()
		if !e.months.has(int(month)) {
			month, day = month+1, 1
			if month > time.December {
				year, month = year+1, time.January
			}
			continue
		}
		if e.hasDate(year, month, day, noon.Weekday()) {
			if t, ok := e.onDay(year, month, day, in); ok {
				return t.In(zone), true
			}
		}
		day++
	}
	return time.Time{}, false
}

// onDay finds the first time of a day that is after the given one.
func (e Event) onDay(year int, month time.Month, day int, after time.Time) (time.Time, bool) {
	if e.hours == all(hourRange) {
		return e.walk(year, month, day, after)
	}
	y, m, d := after.Date()
	today := y == year && m == month && d == day
	for hour := range 24 {
		// An hour that has passed on the clock may still lie ahead where the clock
		// was just put back, but then its time has come before.
		if !e.hours.has(hour) || today && hour < after.Hour()-2 {
			continue
		}
		for minute := range 60 {
			if !e.minutes.has(minute) {
				continue
			}
			for second := range 60 {
				if !e.seconds.has(second) {
					continue
				}
				if t := instant(year, month, day, hour, minute, second, after.Location()); t.After(after) {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}

// walk goes through the minutes of a day as they really come.
func (e Event) walk(year int, month time.Month, day int, after time.Time) (time.Time, bool) {
	t := instant(year, month, day, 0, 0, 0, after.Location())
	if t.Before(after) {
		t = after.Add(-time.Duration(after.Second())*time.Second - time.Duration(after.Nanosecond()))
	}
	for t.Day() == day {
		if e.minutes.has(t.Minute()) {
			for second := range 60 {
				due := t.Add(time.Duration(second) * time.Second)
				if e.seconds.has(second) && due.After(after) {
					return due, true
				}
			}
		}
		t = t.Add(time.Minute)
	}
	return time.Time{}, false
}

// instant returns the first moment at which clocks in a zone show that time, or for a
// time they skip, the moment they skip it.
func instant(year int, month time.Month, day, hour, minute, second int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, hour, minute, second, 0, zone)
	start, end := t.ZoneBounds()
	if t.Hour() != hour || t.Minute() != minute {
		// Skipped: t lies on either side of the change, which is within the hour or two.
		if !end.IsZero() && end.Sub(t) < 4*time.Hour {
			return end
		}
		return start
	}
	if start.IsZero() {
		return t
	}
	// Shown twice: the earlier one lies before the change.
	_, now := t.Zone()
	_, before := start.Add(-time.Second).Zone()
	if early := t.Add(time.Duration(now-before) * time.Second); early.Before(start) && now < before {
		return early
	}
	return t
}
