package lvm_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// calm says that no program waits for a device, whatever else runs on the machine.
func calm(time.Duration) map[string]int { return nil }

const columns = "vg_name,lv_name,lv_size,lv_attr,pool_lv,origin,data_percent,metadata_percent,lv_metadata_size,thin_id,lv_tags,lv_time"

func lvs(group string) []string {
	return []string{"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--config", `report/time_format="%s"`, "--options", columns, group}
}

func TestVolumes(t *testing.T) {
	text, err := os.ReadFile("testdata/lvs.json")
	if err != nil {
		t.Fatal(err)
	}
	tool := lvm.Tool{Runner: run.NewFake(run.Exchange{Args: lvs("pve"), Stdout: string(text)}), Stuck: calm}
	got, err := tool.Volumes(t.Context(), "pve")
	if err != nil {
		t.Fatal(err)
	}
	want := []lvm.Volume{
		{Group: "pve", Name: "data", Size: 107374182400, Attr: "twi-aotz--", Data: 12.5, Metadata: 1.5, MetaSize: 109051904, Created: time.Unix(1795396409, 0)},
		{Group: "pve", Name: "root", Size: 4194304, Attr: "-wi-ao----", Tags: []string{"a", "pve-vm-100"}, Created: time.Unix(1795396397, 0)},
		{Group: "pve", Name: "snap_vm-100-disk-0_one", Size: 12582912, Attr: "Vri---tz-k", Pool: "data", Origin: "vm-100-disk-0", ThinID: 2, Created: time.Unix(1795396433, 0)},
		{Group: "pve", Name: "vm-100-disk-0", Size: 12582912, Attr: "Vwi-a-tz--", Pool: "data", Data: 50, ThinID: 1, Created: time.Unix(1795396418, 0)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, is := range []struct{ plain, thin, pool, active, open, readOnly bool }{
		{pool: true, active: true, open: true},
		{plain: true, active: true, open: true},
		{thin: true, readOnly: true},
		{thin: true, active: true},
	} {
		v := got[i]
		if v.Plain() != is.plain || v.Thin() != is.thin || v.IsPool() != is.pool || v.Active() != is.active || v.Open() != is.open || v.ReadOnly() != is.readOnly {
			t.Errorf("%s: %+v", v.Name, is)
		}
	}
	if used := got[0].Used(); used != 13421772800 {
		t.Errorf("used: %d", used)
	}
}

func TestGroups(t *testing.T) {
	args := []string{"vgs", "--reportformat", "json", "--units", "b", "--nosuffix", "--config", `report/time_format="%s"`, "--options", "vg_name,vg_size,vg_free,vg_extent_size,lv_count"}
	tool := lvm.Tool{Stuck: calm, Runner: run.NewFake(run.Exchange{Args: args, Stdout: `{"report":[{"vg":[
		{"vg_name":"pve","vg_size":"4290772992","vg_free":"4286578688","vg_extent_size":"4194304","lv_count":"1"},
		{"vg_name":"new","vg_size":4194304,"vg_free":0,"vg_extent_size":4194304,"lv_count":0}]}]}`})}
	got, err := tool.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []lvm.Group{
		{Name: "pve", Size: 4290772992, Free: 4286578688, Extent: 4194304, Volumes: 1},
		{Name: "new", Size: 4194304, Extent: 4194304},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestErrors: what LVM prints says what kind of error it is.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name, stderr string
		want         error
	}{
		{"no group", "  Volume group \"nosuch\" not found\n  Cannot process volume group nosuch\n", lvm.ErrMissing},
		{"no volume", "  Failed to find logical volume \"vg/nix\"\n", lvm.ErrMissing},
		{"no origin", "  Snapshot origin LV snap_a not found in Volume group vg.\n", lvm.ErrMissing},
		{"open", "  Logical volume vg/b in use.\n", lvm.ErrInUse},
		{"group with open volumes", "  Can't deactivate volume group \"vg\" with 1 open logical volume(s)\n", lvm.ErrInUse},
		{"taken", "  Logical Volume \"b\" already exists in volume group \"vg\"\n", lvm.ErrExists},
		{"full", "  Volume group \"vg\" has insufficient free space (995 extents): 10240 required.\n", syscall.ENOSPC},
		{"pool above threshold", "  Free space in pool vg/data is above threshold, new volumes are not allowed.\n", syscall.ENOSPC},
		{"no device-mapper", "/dev/mapper/control: open failed: No such device\n  Failure to communicate with kernel device-mapper driver.\n", lvm.ErrKernel},
	} {
		t.Run(test.name, func(t *testing.T) {
			tool := lvm.Tool{Stuck: calm, Runner: run.NewFake(run.Exchange{Args: []string{"lvremove", "-f", "vg/b"}, Stderr: test.stderr, Exit: 5})}
			err := tool.Remove(t.Context(), "vg", "b")
			if !errors.Is(err, test.want) {
				t.Errorf("%v is not %v", err, test.want)
			}
			if !strings.HasPrefix(err.Error(), "lvremove 'vg/b' error: ") {
				t.Errorf("%q", err)
			}
			if failed, ok := errors.AsType[*run.Error](err); !ok || failed.ExitCode != 5 {
				t.Errorf("the error of the program is lost: %v", err)
			}
		})
	}
	tool := lvm.Tool{Stuck: calm, Runner: run.NewFake(run.Exchange{Args: []string{"lvremove", "-f", "vg/b"}, Missing: true})}
	if err := tool.Remove(t.Context(), "vg", "b"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("missing program: %v", err)
	}
}

// TestCommands: what is run for what.
func TestCommands(t *testing.T) {
	for _, test := range []struct {
		want string
		do   func(context.Context, lvm.Tool) error
	}{
		{"lvcreate -aly -Wy --yes --size 4194304k --name vm-100-disk-0 --setautoactivation n --addtag pve-vm-100 vg", func(ctx context.Context, l lvm.Tool) error {
			return l.Create(ctx, "vg", "vm-100-disk-0", 4<<20, "pve-vm-100")
		}},
		{"lvcreate -aly -V 1k --name vm-100-disk-0 --thinpool vg/data", func(ctx context.Context, l lvm.Tool) error {
			return l.CreateThin(ctx, "vg", "data", "vm-100-disk-0", 0)
		}},
		{"lvcreate -n snap_vm-1_a -pr -s vg/vm-1", func(ctx context.Context, l lvm.Tool) error { return l.Snapshot(ctx, "vg", "vm-1", "snap_vm-1_a") }},
		{"lvcreate -n vm-2 -prw -kn -s vg/base-1", func(ctx context.Context, l lvm.Tool) error { return l.Fork(ctx, "vg", "base-1", "vm-2") }},
		{"lvchange --setautoactivation n vg/vm-2", func(ctx context.Context, l lvm.Tool) error { return l.NoAutoActivation(ctx, "vg", "vm-2") }},
		{"lvrename vg a b", func(ctx context.Context, l lvm.Tool) error { return l.Rename(ctx, "vg", "a", "b") }},
		{"lvextend -L 2048k vg/a", func(ctx context.Context, l lvm.Tool) error { return l.Extend(ctx, "vg", "a", 2048) }},
		{"lvchange --deltag x --addtag y vg/a", func(ctx context.Context, l lvm.Tool) error {
			return l.Retag(ctx, "vg", "a", []string{"x"}, []string{"y"})
		}},
		{"lvchange -an -pr -ky vg/base-1", func(ctx context.Context, l lvm.Tool) error { return l.MakeBase(ctx, "vg", "base-1") }},
		{"lvchange -aey vg/a", func(ctx context.Context, l lvm.Tool) error { return l.Activate(ctx, "vg", "a") }},
		{"lvchange --refresh vg/a", func(ctx context.Context, l lvm.Tool) error { return l.Refresh(ctx, "vg", "a") }},
		{"lvchange -ay -K vg/a", func(ctx context.Context, l lvm.Tool) error { return l.ActivateSkipped(ctx, "vg", "a") }},
		{"lvchange -aln vg/a", func(ctx context.Context, l lvm.Tool) error { return l.Deactivate(ctx, "vg", "a") }},
		{"vgchange -aln vg", func(ctx context.Context, l lvm.Tool) error { return l.DeactivateGroup(ctx, "vg") }},
		{"pvcreate --metadatasize 250k /dev/sdx", func(ctx context.Context, l lvm.Tool) error { return l.CreatePV(ctx, "/dev/sdx") }},
		{"vgcreate vg /dev/sdx", func(ctx context.Context, l lvm.Tool) error { return l.CreateGroup(ctx, "vg", "/dev/sdx") }},
	} {
		t.Run(test.want, func(t *testing.T) {
			var exchanges []run.Exchange
			for line := range strings.Lines(test.want) {
				exchanges = append(exchanges, run.Exchange{Args: strings.Fields(line), Stdout: "  done.\n", Stderr: "  WARNING: careful\n  /dev/sdz: open failed: No medium found\n"})
			}
			fake := run.NewFake(exchanges...)
			tool := lvm.Tool{Runner: fake, Stuck: calm}
			var out, said strings.Builder
			if err := test.do(api.WithStreams(t.Context(), api.Streams{Out: &out, Err: &said}), tool); err != nil {
				t.Fatal(err)
			}
			if left := fake.Left(); len(left) > 0 {
				t.Errorf("not run: %v", left)
			}
			n := len(exchanges)
			if out.String() != strings.Repeat("  done.\n", n) || said.String() != strings.Repeat("  WARNING: careful\n", n) {
				t.Errorf("told %q, %q", &out, &said)
			}
			var told strings.Builder
			dry := lvm.Tool{Runner: run.NewFake(), Stuck: calm}
			if err := test.do(plan.With(t.Context(), plan.New(&told)), dry); err != nil {
				t.Fatal(err)
			}
			if told.String() != test.want+"\n" {
				t.Errorf("a dry run told %q", &told)
			}
		})
	}
}

// hanging is a program that waits for a device and cannot be killed.
type hanging struct{ end chan struct{} }

func (h hanging) Run(context.Context, run.Cmd) error {
	<-h.end
	return nil
}

// TestHangs: a device that does not answer holds nobody up for long, and what waits for it
// is there once.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hanging{make(chan struct{})}
		defer close(h.end)
		begun := time.Now()
		_, err := lvm.Tool{Runner: h, Stuck: calm}.Volumes(t.Context(), "vg")
		if took := time.Since(begun); !errors.Is(err, lvm.ErrSlow) || took > 90*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		limit, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begun = time.Now()
		_, err = lvm.Tool{Runner: h, Stuck: calm}.Volumes(limit, "vg")
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 15*time.Second {
			t.Errorf("in a hurry, after %s: %v", took, err)
		}
		begun = time.Now()
		err = lvm.Tool{Runner: h, Stuck: calm}.Remove(t.Context(), "vg", "a")
		if took := time.Since(begun); !errors.Is(err, lvm.ErrSlow) || took > 3*time.Minute {
			t.Errorf("after %s: %v", took, err)
		}
	})
	stuck := func(time.Duration) map[string]int { return map[string]int{"vgs": 4711} }
	_, err := lvm.Tool{Runner: run.NewFake(), Stuck: stuck}.Volumes(t.Context(), "vg")
	if !errors.Is(err, lvm.ErrSlow) || !strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
}

// TestEndedBefore: what is not begun when the work ends is not begun; what is begun, is
// brought to its end.
func TestEndedBefore(t *testing.T) {
	cause := errors.New("received interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	fake := run.NewFake(run.Exchange{Args: []string{"lvrename", "vg", "a", "b"}})
	if err := (lvm.Tool{Runner: ending{fake, func() { cancel(cause) }}, Stuck: calm}).Rename(ctx, "vg", "a", "b"); err != nil {
		t.Error(err)
	}
	if err := (lvm.Tool{Runner: fake, Stuck: calm}).Rename(ctx, "vg", "b", "c"); !errors.Is(err, cause) {
		t.Error(err)
	}
}

type ending struct {
	run.Runner
	end func()
}

func (e ending) Run(ctx context.Context, c run.Cmd) error {
	e.end()
	return e.Runner.Run(ctx, c)
}

// TestNative: without device-mapper the error says so.
func TestNative(t *testing.T) {
	if _, err := exec.LookPath("lvs"); err != nil {
		t.Skip(err)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	tool := lvm.Tool{Runner: run.Host{}, Stuck: calm}
	_, err := tool.Volumes(t.Context(), "virtsmith-no-such-group")
	if !errors.Is(err, lvm.ErrMissing) && !errors.Is(err, lvm.ErrKernel) {
		t.Errorf("a group that is not there: %v", err)
	}
	if _, err := tool.Groups(t.Context()); err != nil && !errors.Is(err, lvm.ErrKernel) {
		t.Error(err)
	}
}

func TestZero(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	full := strings.Repeat("x", 3<<20)
	for _, test := range []struct {
		name     string
		from, to int64
		o        lvm.ZeroOptions
	}{
		{"all", 0, 0, lvm.ZeroOptions{}},
		{"end", 1<<20 + 512, 0, lvm.ZeroOptions{Step: 1 << 20}},
		{"middle", 512, 2 << 20, lvm.ZeroOptions{Step: 4096, Rate: 1 << 30}},
		{"nothing", 3 << 20, 0, lvm.ZeroOptions{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(full), 0o600); err != nil {
				t.Fatal(err)
			}
			to := test.to
			if to == 0 {
				to = int64(len(full))
			}
			var last int64
			test.o.Progress = func(done, total int64) {
				if done < last || total != to-test.from {
					t.Errorf("%d of %d after %d", done, total, last)
				}
				last = done
			}
			if err := lvm.Zero(t.Context(), path, test.from, test.to, test.o); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := full[:test.from] + strings.Repeat("\x00", int(to-test.from)) + full[to:]
			if string(got) != want {
				t.Error("the wrong bytes are zeros")
			}
			if last != to-test.from {
				t.Errorf("told of %d bytes", last)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := lvm.Zero(ctx, path, 0, 0, lvm.ZeroOptions{Step: 4096, Rate: 1, Progress: func(int64, int64) { cancel(io.ErrClosedPipe) }})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("ended: %v", err)
	}
}

func TestMapper(t *testing.T) {
	if got := lvm.Mapper("my-vg", "vm-100-disk-0"); got != "my--vg-vm--100--disk--0" {
		t.Error(got)
	}
}
