package access_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/cluster"
)

const text = "user:root@pam:1:0:::root@localhost:::\ntoken:root@pam!x:0:1::\n\n\npool:lab:Lab machines:101,200:fast:\npool:web::::\n\n\nacl:1:/vms/200:root@pam:PVEVMAdmin:\n"

func TestRights(t *testing.T) {
	r := access.Parse(text)
	if diff := cmp.Diff(text, r.String()); diff != "" {
		t.Errorf("parse and print: %s", diff)
	}
	if !r.HasPool("lab") || r.HasPool("nosuch") || r.PoolOf(200) != "lab" || r.PoolOf(100) != "" {
		t.Error("pools are not found")
	}
	if err := r.AddToPool("web", 200); err != nil {
		t.Fatal(err)
	}
	if err := r.AddToPool("lab", 100); err != nil {
		t.Fatal(err)
	}
	if err := r.AddToPool("nosuch", 100); err == nil {
		t.Error("a pool that is not there")
	}
	if !r.RemoveGuest(200) || r.RemoveGuest(200) {
		t.Error("guest 200 is not removed once")
	}
	want := "user:root@pam:1:0:::root@localhost:::\ntoken:root@pam!x:0:1::\n\n\npool:lab:Lab machines:100,101:fast:\npool:web::::\n\n\n"
	if diff := cmp.Diff(want, r.String()); diff != "" {
		t.Error(diff)
	}
}

func TestChange(t *testing.T) {
	c := cluster.New(t.TempDir(), "pve1")
	write := func(r *access.Rights) error { return r.AddToPool("lab", 7) }
	if err := access.Change(t.Context(), c, write); err == nil {
		t.Error("a pool that is not there")
	}
	if err := c.WriteFile(t.Context(), access.File, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := access.Change(t.Context(), c, func(*access.Rights) error { return access.ErrUnchanged }); err != nil {
		t.Error(err)
	}
	if err := access.Change(t.Context(), c, write); err != nil {
		t.Fatal(err)
	}
	if r, err := access.Load(t.Context(), c); err != nil || r.PoolOf(7) != "lab" {
		t.Error("not saved", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		once := access.Parse(text).String()
		if again := access.Parse(once).String(); once != again {
			t.Errorf("%q then %q", once, again)
		}
	})
}
