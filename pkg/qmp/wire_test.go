package qmp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	tests := []struct {
		name, line string
		want       message
		fault      string
	}{
		{"return", `{"return": {}, "id": 7}`, message{ID: new(uint64(7)), Return: []byte("{}")}, ""},
		{"empty list", `{"return": []}`, message{Return: []byte("[]")}, ""},
		{"error", `{"error": {"class": "GenericError", "desc": "no"}, "id": 1}`, message{ID: new(uint64(1)), Error: &Error{"GenericError", "no"}}, ""},
		{"event", `{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}`, message{Event: "STOP", Timestamp: timestamp{1, 2}}, ""},
		{"says nothing", `{"id": 1}`, message{}, "read message: message says nothing"},
		{"no object", `[]`, message{}, "read message: json: cannot unmarshal array"},
		{"cut off", `{"return": `, message{}, "read message: unexpected end of JSON input"},
		{"foreign id", `{"return": {}, "id": "x"}`, message{}, "read message: json: cannot unmarshal string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode([]byte(tt.line))
			if tt.fault == "" && err != nil || tt.fault != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.fault)) {
				t.Errorf("error %v, want %q", err, tt.fault)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	in := newLines(strings.NewReader("a\r\n\n\n"+long+"\nrest"), 250_000)
	for _, want := range []string{"a", long} {
		if got, err := in.next(); err != nil || string(got) != want {
			t.Errorf("%.10q, %v", got, err)
		}
	}
	if got, err := in.next(); err == nil {
		t.Errorf("half a line was taken for one: %q", got)
	}
	if _, err := newLines(strings.NewReader(long), 1000).next(); err == nil {
		t.Error("no bound")
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"return": {}, "id": 7}`, `{"error": {"class": "GenericError", "desc": "no"}, "id": 1}`,
		`{"event": "STOP", "data": {"x": 1}, "timestamp": {"seconds": 1, "microseconds": 2}}`,
		`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}`, "\xff{\"return\": 5}", "null", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err != nil {
			return
		}
		if m.QMP == nil && m.Error == nil && m.Event == "" && m.Return == nil {
			t.Error("a message that says nothing")
		}
		e := Event{Name: m.Event, Data: m.Data}
		var v any
		if err := e.Decode(&v); err != nil {
			t.Errorf("data of an event that was read: %v", err)
		}
	})
}

// FuzzLines: whatever comes, lines are what is between line ends, none is lost.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := newLines(bytes.NewReader(data), 1<<20)
		var want [][]byte
		parts := bytes.Split(data, []byte("\n"))
		for _, p := range parts[:len(parts)-1] {
			if p = bytes.TrimSpace(p); len(p) > 0 {
				want = append(want, p)
			}
		}
		for _, w := range want {
			if got, err := in.next(); err != nil || !bytes.Equal(got, w) {
				t.Fatalf("got %q, %v, want %q", got, err, w)
			}
		}
		if got, err := in.next(); err == nil {
			t.Fatalf("one line too many: %q", got)
		}
	})
}
