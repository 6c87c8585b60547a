package calendar_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/calendar"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("no time zone data: %v", err)
	}
	return loc
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "unable to parse calendar event - event is empty"},
		{" \t", "unable to parse calendar event - event is empty"},
		{"mon 0 0", "unable to parse calendar event - unused parts"},
		{"61", "value '61' out of range"},
		{"24:00", "value '24' out of range"},
		{"*/61", "repetition '61' out of range"},
		{"*/0", "repetition '0' out of range"},
		{"0..80", "range end '80' out of range"},
		{"5..3", "wrong order in range '5..3'"},
		{"foo", "unable to parse weekday 'foo'"},
		{"mon..", "unable to parse weekday ''"},
		{"1:2:3:4", "unable to parse time '1:2:3:4'"},
		{"1-2-3-4", "unable to parse date '1-2-3-4'"},
		{"00-32", "value '00' out of range"},
		{"1,,2", "unable to parse number ''"},
		{"+5", "unable to parse number '+5'"},
		{"99999999999999999999", "unable to parse number '99999999999999999999'"},
		{"daily 5", "unable to parse weekday 'daily'"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			_, err := calendar.Parse(tt.text)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNext(t *testing.T) {
	const vienna = "Europe/Vienna" // clocks change on 2018-03-25 02:00 and 2018-10-28 03:00
	tests := []struct {
		name, spec, zone, after string
		want                    []string
	}{
		{"minutely", "minutely", "UTC", "2024-01-01T00:00:30Z", []string{"2024-01-01T00:01:00Z"}},
		{"hourly", "hourly", "UTC", "2024-01-01T00:00:00Z", []string{"2024-01-01T01:00:00Z"}},
		{"daily", "daily", "UTC", "2024-02-28T12:00:00Z", []string{"2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"}},
		{"weekly", "weekly", "UTC", "2024-01-01T00:00:00Z", []string{"2024-01-08T00:00:00Z"}},
		{"monthly", "monthly", "UTC", "2024-12-01T00:00:00Z", []string{"2025-01-01T00:00:00Z"}},
		{"quarterly", "quarterly", "UTC", "2024-08-01T00:00:00Z", []string{"2024-10-01T00:00:00Z"}},
		{"semi-annually", "semi-annually", "UTC", "2024-08-01T00:00:00Z", []string{"2025-01-01T00:00:00Z"}},
		{"yearly", "yearly", "UTC", "2024-08-01T00:00:00Z", []string{"2025-01-01T00:00:00Z"}},
		{"seconds", "*:*:15,45", "UTC", "2024-01-01T00:00:15Z", []string{"2024-01-01T00:00:45Z", "2024-01-01T00:01:15Z"}},
		{"leap day on a Monday", "mon 02-29", "UTC", "2024-03-01T00:00:00Z", []string{"2044-02-29T00:00:00Z"}},
		{"month and day", "12-24 18:00", "UTC", "2024-12-24T18:00:00Z", []string{"2025-12-24T18:00:00Z"}},
		{"past year", "2020-01-01", "UTC", "2024-01-01T00:00:00Z", nil},
		{"no such day", "02-30", "UTC", "2024-01-01T00:00:00Z", nil},
		{"range with step", "8..18/5:00", "UTC", "2024-01-01T08:00:00Z", []string{"2024-01-01T13:00:00Z", "2024-01-01T18:00:00Z", "2024-01-02T08:00:00Z"}},
		{"wrapping days", "Fri..Mon", "UTC", "2024-01-01T00:00:00Z", []string{"2024-01-05T00:00:00Z", "2024-01-06T00:00:00Z", "2024-01-07T00:00:00Z", "2024-01-08T00:00:00Z", "2024-01-12T00:00:00Z"}},
		{"fraction of a second", "*", "UTC", "2024-01-01T00:00:59.5Z", []string{"2024-01-01T00:01:00Z"}},
		{"local week days", "mon..fri", vienna, "2018-10-28T00:00:00Z", []string{"2018-10-28T23:00:00Z"}},
		{"week days in UTC", "mon..fri UTC", vienna, "2018-10-28T00:00:00Z", []string{"2018-10-29T00:00:00Z"}},
		{"skipped time", "2:30", vienna, "2018-03-24T12:00:00Z", []string{"2018-03-25T01:00:00Z", "2018-03-26T00:30:00Z"}},
		{"skipped and following", "2..3:00", vienna, "2018-03-24T12:00:00Z", []string{"2018-03-25T01:00:00Z", "2018-03-26T00:00:00Z"}},
		{"time that comes twice", "2:30", vienna, "2018-10-27T12:00:00Z", []string{"2018-10-28T00:30:00Z", "2018-10-29T01:30:00Z"}},
		{"every half hour, clocks put back", "*/30", vienna, "2018-10-28T00:00:00Z", []string{
			"2018-10-28T00:30:00Z", "2018-10-28T01:00:00Z", "2018-10-28T01:30:00Z", "2018-10-28T02:00:00Z",
		}},
		{"every half hour, clocks put forward", "*/30", vienna, "2018-03-25T00:00:00Z", []string{"2018-03-25T00:30:00Z", "2018-03-25T01:00:00Z"}},
		{"midnight that is skipped", "daily", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := calendar.Parse(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			at = at.In(zone(t, tt.zone))
			var got []string
			for range tt.want {
				next, ok := e.Next(at)
				if !ok {
					break
				}
				got = append(got, next.UTC().Format(time.RFC3339))
				at = next
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if tt.want == nil {
				if next, ok := e.Next(at); ok {
					t.Errorf("due at %v", next)
				}
			}
		})
	}
}

func TestConformanceCalendarEvent(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Spec, Timezone string
			Next                 [][2]int64
			ExpectedError        string `json:"expected_error"`
			CheckedByPeer        bool   `json:"checked_by_peer"`
		}
	}
	conformance.Load(t, "guest/common-calendar-event", &suite)
	deviations := map[string]string{
		"event-11": "not checked by the peer, whose parser lets ranges of week days wrap, as ours does",
	}
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			e, err := calendar.Parse(c.Spec)
			if reason, ok := deviations[c.Name]; ok {
				if err != nil {
					t.Errorf("the deviation is gone (%s): %v", reason, err)
				}
				return
			}
			if c.ExpectedError != "" {
				if err == nil || err.Error() != c.ExpectedError {
					t.Errorf("error %v, want %s", err, c.ExpectedError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range c.Next {
				next, ok := e.Next(time.Unix(pair[0], 0).In(zone(t, c.Timezone)))
				if !ok || next.Unix() != pair[1] {
					t.Errorf("after %d: %d, want %d", pair[0], next.Unix(), pair[1])
				}
			}
		})
	}
}

func FuzzEvent(f *testing.F) {
	for _, seed := range []string{"*", "mon..fri 8..18/2:0/15", "*-02-29 UTC", "sat..sun", "daily", "2020..2030/2-1,7-1 0:0:0"} {
		f.Add(seed, int64(1540684800))
	}
	vienna := zone(f, "Europe/Vienna")
	f.Fuzz(func(t *testing.T, spec string, at int64) {
		e, err := calendar.Parse(spec)
		if err != nil {
			return
		}
		after := time.Unix(at%(200*365*86400), 0).In(vienna)
		next, ok := e.Next(after)
		if !ok {
			return
		}
		if !next.After(after) {
			t.Fatalf("%q after %v is %v", spec, after, next)
		}
		// Nothing that is due lies between.
		if sooner, ok := e.Next(after.Add(next.Sub(after) / 2)); !ok || sooner.After(next) {
			t.Fatalf("%q: %v was passed over, got %v", spec, next, sooner)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	e, err := calendar.Parse("mon..fri 22:30")
	if err != nil {
		b.Fatal(err)
	}
	at := time.Unix(1540684800, 0).UTC()
	for b.Loop() {
		e.Next(at)
	}
}
