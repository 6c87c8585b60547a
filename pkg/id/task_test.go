package id_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func TestTask(t *testing.T) {
	tests := []struct {
		name, upid string
		bad        bool
	}{
		{"plain", "UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:100:root@pam:", false},
		{"long uptime", "UPID:pve1:000934AF:10D015579:68BF3A41:qmstart:100:root@pam:", false},
		{"no object", "UPID:pve1:000934AF:0D015579:68BF3A41:srvreload::root@pam:", false},
		{"token", "UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:100:root@pam!ci:", false},
		{"empty", "", true},
		{"no node", "UPID::000934AF:0D015579:68BF3A41:qmstart:100:root@pam:", true},
		{"node ends in a dash", "UPID:pve-:000934AF:0D015579:68BF3A41:qmstart:100:root@pam:", true},
		{"no type", "UPID:pve1:000934AF:0D015579:68BF3A41::100:root@pam:", true},
		{"no user", "UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:100::", true},
		{"no end", "UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:100:root@pam", true},
		{"short pid", "UPID:pve1:0934AF:0D015579:68BF3A41:qmstart:100:root@pam:", true},
		{"signed pid", "UPID:pve1:+00934AF:0D015579:68BF3A41:qmstart:100:root@pam:", true},
		{"blank", "UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:1 0:root@pam:", true},
		{"way out", "UPID:pve1:000934AF:0D015579:68BF3A41:qmstart:../../x:root@pam:", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			task, err := id.ParseTask(tt.upid)
			if tt.bad {
				if !errors.Is(err, id.ErrNoTask) {
					t.Errorf("%+v, %v", task, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.upid, task.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTaskThatCannotBeWritten(t *testing.T) {
	task := id.Task{Node: "pve1", Type: "imgcopy", ID: "local:iso/x", User: "root@pam"}
	if b, err := task.MarshalText(); err == nil {
		t.Errorf("written as %s", b)
	}
}

// The cases on the end of a task log belong to pkg/task.
func TestConformanceUPID(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Kind, UPID string
			MustFail         bool `json:"must_fail"`
			Expected         any
		}
	}
	conformance.Load(t, "guest/common-upid", &suite)
	for _, c := range suite.Cases {
		if c.Kind != "decode" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			var task id.Task
			err := task.UnmarshalText([]byte(c.UPID))
			if c.MustFail {
				if err == nil {
					t.Errorf("read as %+v", task)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]any{
				"node": task.Node, "pid": float64(task.PID), "pstart": float64(task.PStart),
				"starttime": float64(task.StartTime), "type": task.Type, "id": task.ID, "user": task.User,
			}
			if diff := cmp.Diff(c.Expected, any(got)); diff != "" {
				t.Error(diff)
			}
			text, err := task.MarshalText()
			if err != nil || string(text) != c.UPID {
				t.Errorf("written as %s, %v", text, err)
			}
		})
	}
}

func FuzzTask(f *testing.F) {
	f.Add("UPID:pve1:000934AF:10D015579:68BF3A41:qmstart:100:root@pam:")
	f.Add("UPID:a:ffffffff:FFFFFFFFF:00000000:x::y:")
	f.Fuzz(func(t *testing.T, s string) {
		task, err := id.ParseTask(s)
		if err != nil {
			return
		}
		again, err := id.ParseTask(task.String())
		if err != nil || again != task {
			t.Errorf("%s: %+v became %+v, %v", s, task, again, err)
		}
	})
}
