package zfs

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/run"
)

const listText = "tank\t-\t-\tfilesystem\t0\n" +
	"tank/vm-100-disk-0\t1073741824\t-\tvolume\t-\n" +
	"tank/vm-101-disk-0\t1073741824\ttank/base-9-disk-0@__base__\tvolume\t-\n" +
	"tank/subvol-102-disk-0\t-\t-\tfilesystem\t8589934592\n" +
	"tank/subvol-103-disk-0\t-\t-\tfilesystem\tnone\n" +
	"tankard/vm-100-disk-0\t1024\t-\tvolume\t-\n" +
	"tank/going\n"

func TestParseList(t *testing.T) {
	want := []Dataset{
		{Name: "tank/vm-100-disk-0", Volume: true, Size: 1 << 30},
		{Name: "tank/vm-101-disk-0", Volume: true, Size: 1 << 30, Origin: "tank/base-9-disk-0@__base__"},
		{Name: "tank/subvol-102-disk-0", Size: 8 << 30},
		{Name: "tank/subvol-103-disk-0"},
	}
	if diff := cmp.Diff(want, parseList(listText, "tank")); diff != "" {
		t.Error(diff)
	}
}

func TestParseSnapshots(t *testing.T) {
	want := []Snapshot{{Name: "a", GUID: "12", Created: time.Unix(1700000000, 0)}, {Name: "b@c", GUID: "13", Created: time.Unix(1700000001, 0)}}
	got := parseSnapshots("tank/x@a\t12\t1700000000\ntank/x@b@c\t13\t1700000001\ntank/x@d\t14\tnever\ntank/x\t1\t2\n\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(listText, "tank")
	f.Add("tank/x@a\t12\t1700000000\n", "tank/x")
	f.Fuzz(func(t *testing.T, text, parent string) {
		for _, d := range parseList(text, parent) {
			if !strings.HasPrefix(d.Name, parent+"/") || d.Name == parent+"/" {
				t.Errorf("%q is not below %q", d.Name, parent)
			}
		}
		for _, s := range parseSnapshots(text) {
			if s.Name == "" {
				t.Error("a snapshot without a name")
			}
		}
	})
}

// TestErrors: what zfs says is told apart by its words.
func TestErrors(t *testing.T) {
	kinds := map[string]error{
		"not exist": ErrNotExist, "exists": ErrExists, "busy": ErrBusy, "clones": ErrClones, "full": syscall.ENOSPC,
	}
	for _, c := range []struct{ said, want string }{
		{"cannot open 'tank/x': dataset does not exist", "not exist"},
		{"cannot open 'tank': no such pool", "not exist"},
		{"could not find any snapshots to destroy; check snapshot names.", "not exist"},
		{"cannot create 'tank/x': dataset already exists", "exists"},
		{"cannot receive new filesystem stream: destination 'tank/x' exists\nmust specify -F to overwrite it", "exists"},
		{"cannot destroy 'tank/x': dataset is busy", "busy"},
		{"cannot unmount '/tank/x': pool or dataset is busy", "busy"},
		{"cannot destroy 'tank/x': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\ntank/y", "clones"},
		{"cannot destroy 'tank/x@a': snapshot has dependent clones", "clones"},
		{"cannot create 'tank/x': out of space", "full"},
		{"cannot set property for 'tank/x': size is greater than available space", "full"},
		{"cannot create 'tank/x': permission denied", ""},
	} {
		fake := run.NewFake(run.Exchange{Args: []string{"zfs", "rename", "a", "b"}, Exit: 1, Stderr: c.said + "\n"})
		err := Tool{Runner: fake}.Rename(t.Context(), "a", "b")
		if want := "zfs error: " + strings.ReplaceAll(c.said, "\n", "; "); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		for name, kind := range kinds {
			if errors.Is(err, kind) != (name == c.want) {
				t.Errorf("%s: is %s: %v", c.said, name, errors.Is(err, kind))
			}
		}
	}
}

// TestUsage: the pages that an older zfs shows for an option it does not know stay away.
func TestUsage(t *testing.T) {
	fake := run.NewFake(run.Exchange{Args: []string{"zfs", "rename", "a", "b"}, Exit: 2, Stderr: "invalid option 'p'\nusage:\n\tlist [-rH]\n\nSizes are\n"})
	if err := (Tool{Runner: fake}).Rename(t.Context(), "a", "b"); err == nil || err.Error() != "zfs error: invalid option 'p'" {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	fake := run.NewFake(run.Exchange{Args: []string{"zpool", "list", "-H", "-o", "health", "tank"}, Missing: true})
	_, err := Tool{Runner: fake}.Health(t.Context(), "tank")
	if want := "zfs error: zpool: program not found, is its package installed?"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// hung is a program that waits in the kernel: no signal ends it.
type hung struct{ end chan struct{} }

func (h hung) Run(context.Context, run.Cmd) error {
	<-h.end
	return nil
}

// TestHung: a program that cannot be ended is left behind.
func TestHung(t *testing.T) { synctest.Test(t, testHung) }

func testHung(t *testing.T) {
	h := hung{make(chan struct{})}
	defer close(h.end)
	_, err := Tool{Runner: h, Look: 10 * time.Millisecond}.Get(t.Context(), "tank", "used")
	if want := "zfs error: zfs: no answer in 10ms"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("received interrupt"))
	if err := (Tool{Runner: h}).Rename(ctx, "a", "b"); err == nil || !strings.Contains(err.Error(), "received interrupt") {
		t.Errorf("an interrupt: %v", err)
	}
}

// TestDestroy: what is busy for a moment is tried again, not for ever.
func TestDestroy(t *testing.T) { synctest.Test(t, testDestroy) }

func testDestroy(t *testing.T) {
	args := []string{"zfs", "destroy", "-r", "tank/x"}
	busy := run.Exchange{Args: args, Exit: 1, Stderr: "cannot destroy 'tank/x': dataset is busy\n"}
	fake := run.NewFake(busy, busy, run.Exchange{Args: args})
	if err := (Tool{Runner: fake}).Destroy(t.Context(), "tank/x"); err != nil || len(fake.Left()) > 0 {
		t.Errorf("%v, left %v", err, fake.Left())
	}
	busy.Repeat = true
	if err := (Tool{Runner: run.NewFake(busy)}).Destroy(t.Context(), "tank/x"); !errors.Is(err, ErrBusy) {
		t.Errorf("always busy: %v", err)
	}
}
