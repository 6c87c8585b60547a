package zfs

import (
	"context"
	"crypto/md5" //nolint:gosec // makes the same ids as upstream, protects nothing
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// comstar is the target of illumos. A disk is a logical unit with an id, and is seen
// by whoever a view is made for.
type comstar struct {
	server                 *server
	base                   string
	hostGroup, targetGroup string // empty for all
	writeThrough           bool
}

const (
	stmfadm = "/usr/sbin/stmfadm"
	sbdadm  = "/usr/sbin/sbdadm"
)

func (c *comstar) device(dataset string) string { return c.base + "/" + dataset }

// unitID is the id of the logical unit of a device.
func unitID(device string) string {
	sum := md5.Sum([]byte(device)) //nolint:gosec // see above
	return "600144f" + hex.EncodeToString(sum[:])[7:]
}

// find returns the id of the logical unit that a device is, empty for none.
func (c *comstar) find(ctx context.Context, device string) (string, error) {
	out, err := c.server.ask(ctx, sbdadm, "list-lu")
	if err != nil {
		return "", err
	}
	return parseUnits(out)[device], nil
}

// parseUnits reads the ids of logical units, by device.
func parseUnits(out string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		if _, err := strconv.ParseUint(f[1], 10, 64); err == nil {
			found[f[2]] = f[0]
		}
	}
	return found
}

// viewNumber finds the number of the LUN in what stmfadm says of a view.
var viewNumber = pattern.New(`(?m)^\s*LUN\s*:\s*(\d+)\s*$`)

func (c *comstar) lun(ctx context.Context, device string) (int, bool, error) {
	unit, err := c.find(ctx, device)
	if err != nil || unit == "" {
		return 0, false, err
	}
	out, err := c.server.ask(ctx, stmfadm, "list-view", "-l", unit)
	if err != nil {
		// One that is half made has no view. It counts as none, and add goes on with it.
		if strings.Contains(err.Error(), "no views found") {
			return 0, false, nil
		}
		return 0, false, err
	}
	m := viewNumber.FindStringSubmatch(out)
	if m == nil {
		return 0, false, fmt.Errorf("lun_number for guid %s is not a number", unit)
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil, err
}

func (c *comstar) add(ctx context.Context, device string, again bool) error {
	unit, err := c.find(ctx, device)
	if err != nil {
		return err
	}
	switch {
	case unit != "":
	case again:
		// What the unit was is kept with the device.
		if _, err := c.server.do(ctx, "", stmfadm, "import-lu", device); err != nil {
			return err
		}
		if unit, err = c.find(context.WithoutCancel(ctx), device); err == nil && unit == "" && !dry(ctx) {
			err = fmt.Errorf("Could not find lu_name for zvol %s", device)
		}
		if err != nil {
			return err
		}
	default:
		unit = unitID(device)
		if _, err := c.server.do(ctx, "", stmfadm, "create-lu", "-p", "wcd="+strconv.FormatBool(c.writeThrough), "-p", "guid="+unit, device); err != nil {
			return err
		}
	}
	args := []string{stmfadm, "add-view"}
	if c.hostGroup != "" {
		args = append(args, "--host-group", c.hostGroup)
	}
	if c.targetGroup != "" {
		args = append(args, "--target-group", c.targetGroup)
	}
	_, err = c.server.do(context.WithoutCancel(ctx), "", append(args, unit)...)
	return err
}

func (c *comstar) remove(ctx context.Context, device string) error {
	unit, err := c.find(ctx, device)
	if err != nil || unit == "" {
		return err
	}
	_, err = c.server.do(ctx, "", stmfadm, "delete-lu", unit)
	return err
}

func (c *comstar) resized(ctx context.Context, device string, size int64) error {
	unit, err := c.find(ctx, device)
	if err != nil {
		return err
	}
	if unit == "" {
		return fmt.Errorf("Could not find lu_name for zvol %s", device)
	}
	_, err = c.server.do(ctx, "", stmfadm, "modify-lu", "-s", strconv.FormatInt(size/1024, 10)+"K", unit)
	return err
}
