package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// SMART is what a disk tells of itself.
type SMART struct {
	Type       string // "ata" has attributes, "text" has a text; empty where it tells nothing
	Health     string // PASSED, OK, FAILED!, SMART Disabled, …; empty where it is not told
	Attributes []SMARTAttribute
	Text       string
	Wearout    *float64 // what is left of its life, in percent, of disks that say so in the text
}

// SMARTAttribute is a line of the table that ATA disks keep.
type SMARTAttribute struct {
	ID         string // three characters, blanks first
	Name       string
	Flags      string
	Normalized int // the value, the worst there was, and where it fails
	Worst      int
	Threshold  int
	Fail       string
	Raw        string
}

// Device returns the path of the block device that a path leads to.
func (i DiskInventory) Device(path string) (string, error) {
	i = i.withDefaults()
	to, err := filepath.EvalSymlinks(filepath.Join(i.Dev, strings.TrimPrefix(path, "/dev")))
	if !strings.HasPrefix(path, "/dev/") || err != nil {
		return "", fmt.Errorf("failed to get absolute path to %s", path)
	}
	rest, ok := strings.CutPrefix(to, i.Dev+"/")
	if !ok {
		return "", fmt.Errorf("got unusual device path '%s'", to)
	}
	if info, err := os.Stat(to); err != nil || info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return "", errors.New("not a valid block device")
	}
	return "/dev/" + rest, nil
}

// SMART asks the disk at a path, which [DiskInventory.Device] has found to be one, for
// its health, and for all it tells where healthOnly is false.
func (i DiskInventory) SMART(ctx context.Context, path string, healthOnly bool) (SMART, error) {
	i = i.withDefaults()
	return askSMART(ctx, i.prober(), path, healthOnly)
}

func askSMART(ctx context.Context, p *prober, path string, healthOnly bool) (SMART, error) {
	args := []string{"-H"}
	if !healthOnly {
		args = append(args, "-A", "-f", "brief")
	}
	text, err := p.ask(ctx, "/usr/sbin/smartctl", append(args, path)...)
	// The two lowest bits say that there is no answer, the others how the disk is.
	if code := run.ExitCode(err); err != nil && (code < 0 || code&3 != 0) {
		if why := smartComplaint(string(text)); why != "" {
			return SMART{}, fmt.Errorf("%w: %s", err, why)
		}
		return SMART{}, err
	}
	return ParseSMART(string(text)), nil
}

// smartComplaint finds what smartctl, which has its errors among its output, is not
// content with: the line after its name and copyright.
func smartComplaint(text string) string {
	_, rest, _ := strings.Cut(text, "\n\n")
	complaint, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	return complaint
}

var (
	smartAttribute = regexp.MustCompile(`^([ \d]{2}\d)\s+(\S+)\s+(\S{6})\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+)\s+(.*)$`)
	smartHealth    = regexp.MustCompile(`(?:Health Status|self-assessment test result): (.*)$`)
	smartSection   = regexp.MustCompile(`=== START OF (?:READ )?SMART DATA SECTION ===`)
	smartUsed      = regexp.MustCompile(`(?i)Percentage Used(?: endurance indicator)?:\s*(\d+(?:\.\d+)?)%`)
)

// ParseSMART reads what smartctl -H, with or without -A -f brief, writes.
func ParseSMART(text string) SMART {
	var s SMART
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if m := smartAttribute.FindStringSubmatch(l); m != nil && s.Type == "ata" {
			s.Attributes = append(s.Attributes, SMARTAttribute{
				ID: m[1], Name: m[2], Flags: m[3], Normalized: number(m[4]), Worst: number(m[5]),
				Threshold: number(m[6]), // --- where there is none
				Fail:      m[7], Raw: m[8],
			})
		} else if m := smartHealth.FindStringSubmatch(l); m != nil {
			s.Health = m[1]
		} else if strings.Contains(l, "Vendor Specific SMART Attributes with Thresholds:") {
			s.Type, s.Text = "ata", ""
		} else if smartSection.MatchString(l) {
			s.Type = "text"
		} else if s.Type == "text" {
			s.addText(l)
		} else if strings.Contains(l, "SMART Disabled") {
			s.Health = "SMART Disabled"
		}
	}
	return s
}

func (s *SMART) addText(l string) {
	s.Text += l + "\n"
	if m := smartUsed.FindStringSubmatch(l); m != nil {
		if used, err := strconv.ParseFloat(m[1], 64); err == nil {
			s.Wearout = new(100 - used)
		}
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// wearNames are the names that vendors have for an attribute that counts down from 100
// as a disk wears out; the first that a disk has is the best.
func wearNames() []string {
	return []string{
		"Media_Wearout_Indicator", "SSD_Life_Left", "Wear_Leveling_Count", "Perc_Write/Erase_Ct_BC",
		"Perc_Rated_Life_Remain", "Remaining_Lifetime_Perc", "Percent_Lifetime_Remain", "Lifetime_Left",
		"PCT_Life_Remaining", "Lifetime_Remaining", "Percent_Life_Remaining", "Percent_Lifetime_Used",
		"Perc_Rated_Life_Used",
	}
}

// wearout returns what is left of the life of a disk in percent, nil where it does not
// tell.
func (s SMART) wearout() *float64 {
	if s.Wearout != nil {
		return s.Wearout
	}
	for _, name := range wearNames() {
		for _, a := range s.Attributes {
			if strings.Contains(a.Name, name) {
				return new(float64(a.Normalized))
			}
		}
	}
	return nil
}
