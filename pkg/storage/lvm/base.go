package lvm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// blankPatience is how long a device may take to be looked at.
const blankPatience = 30 * time.Second

// Added makes the volume group on a base that is blank. One that is there already is
// taken as it is; a base with other data is refused.
func (p *pool) Added(ctx context.Context, _ map[string]string) error {
	if p.base == nil {
		return nil
	}
	kind, path, err := p.Place(ctx, *p.base)
	if kind == "" {
		return fmt.Errorf("base storage ID '%s' does not exist", p.base.Storage)
	}
	// A volume group needs a block device below it.
	if err != nil || !strings.HasPrefix(path, "/dev/") {
		return storage.Told(fmt.Sprintf("unsupported base type '%s'", kind), err)
	}
	if plan.From(ctx) != nil {
		plan.From(ctx).Stepf("make volume group %s on %s, unless it is there", p.VG, p.base)
		return nil
	}
	device, err := p.Volume(ctx, *p.base)
	if err != nil {
		return fmt.Errorf("base volume '%s': %w", p.base, err)
	}
	group, is, err := p.Tool.PVGroup(ctx, device)
	switch {
	case err != nil:
		return err
	case group == p.VG:
		return nil
	case group != "":
		return fmt.Errorf("device '%s' is already used by volume group '%s'", device, group)
	}
	if !is {
		if err := p.blank(ctx, device); err != nil {
			return err
		}
		if err := p.Tool.CreatePV(ctx, device); err != nil {
			return err
		}
	}
	if err := p.Tool.CreateGroup(ctx, p.VG, device); err != nil {
		if !is {
			err = errors.Join(err, p.Tool.RemovePV(context.WithoutCancel(ctx), device))
		}
		return err
	}
	return nil
}

// blank fails where a device has a file system, partitions or anything else that blkid
// knows.
func (p *pool) blank(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, blankPatience)
	defer cancel()
	out, err := run.OutputOf(ctx, p.Runner, run.Cmd{
		Path: "blkid", Args: []string{"-p", "-o", "export", device}, Env: []string{"LC_ALL=C"}, ReadOnly: true,
	})
	const nothing = 2
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return err
	case run.ExitCode(err) == nothing:
		return nil
	case err != nil:
		return fmt.Errorf("cannot tell whether device '%s' is blank: %w", device, err)
	}
	what := "data"
	for line := range strings.Lines(string(out)) {
		for _, key := range []string{"TYPE=", "PTTYPE="} {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), key); ok {
				what = value
			}
		}
	}
	return fmt.Errorf("device '%s' of base volume '%s' is not blank (%s): remove what is on it first, for example with wipefs", device, p.base, what)
}

// Changed has nothing to do.
func (p *pool) Changed(context.Context, map[string]*string) error { return nil }

// Removed leaves the volume group as it is.
func (p *pool) Removed(context.Context) error { return nil }

var _ storage.Configurer = (*pool)(nil)
