package api

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

type thing struct {
	ID   int     `pve:"id" min:"1"`
	Name *string `pve:"name" maxlen:"3"`
}

// local has a task method "make" and a method "show", and tells what it does to log.
func local(log *[]string) Local {
	say := func(what string) { *log = append(*log, what) }
	return Local{
		Methods: Registry{
			NewTask(Method{Name: "make"},
				func(_ context.Context, in thing) (Job, error) {
					say("prepare")
					if in.ID == 13 {
						return Job{}, errors.New("thing 13 exists")
					}
					return Job{Type: "make", ID: "1"}, nil
				},
				func(context.Context, thing) error { say("work"); return nil }),
			New(Method{Name: "show", Verb: "GET", Path: "/things/{id}"}, func(_ context.Context, in thing) (int, error) {
				return in.ID, nil
			}),
		},
		Start: func(_ context.Context, _ *Method, job Job, _ schema.Params) (string, error) {
			say("start " + job.Type)
			return "UPID:1", nil
		},
	}
}

func TestLocalCall(t *testing.T) {
	for _, c := range []struct {
		name, key string
		p         schema.Params
		dry       bool
		want      any
		fault     string
		log       []string
	}{
		{name: "a method", key: "GET /things/{id}", p: schema.Params{"id": "7"}, want: 7},
		{name: "a task", key: "make", p: schema.Params{"id": "7"}, want: "UPID:1", log: []string{"prepare", "start make"}},
		{name: "a task dry", key: "make", p: schema.Params{"id": "7"}, dry: true, log: []string{"prepare", "work"}},
		{name: "refused at once", key: "make", p: schema.Params{"id": "13"}, fault: "thing 13 exists", log: []string{"prepare"}},
		{
			name: "all faults", key: "make", p: schema.Params{"id": "0", "name": "long"},
			fault: "400 Parameter verification failed.\nid: value must have a minimum value of 1\nname: value may only be 3 characters long",
		},
		{name: "nothing of the name", key: "sell", fault: "sell: no such method"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log []string
			ctx := t.Context()
			if c.dry {
				ctx = plan.With(ctx, plan.New(new(bytes.Buffer)))
			}
			got, err := local(&log).Call(ctx, c.key, c.p)
			if c.fault != "" {
				if err == nil || err.Error() != c.fault {
					t.Errorf("error %v, want %s", err, c.fault)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got) + cmp.Diff(c.log, log); diff != "" && c.fault == "" {
				t.Error(diff)
			}
		})
	}
}
