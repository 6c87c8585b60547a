package host

import (
	"strings"
	"testing"
)

// FuzzDisk has all that reads what programs say of disks: whatever they say, nothing may
// break, and what is read is told as it was.
func FuzzDisk(f *testing.F) {
	for _, seed := range []string{
		"", "E: DEVTYPE=disk\nE: DEVNAME=/dev/sda\nE: ID_ATA_ROTATION_RATE_RPM=7200\nE: DEVLINKS=/dev/disk/by-id/ata-x\n",
		"/dev/sdg(0);osd-block-01234;ceph.osd_id=1,ceph.encrypted=1\n", "pool\t1\n\t/dev/sdc\t3.62T\n",
		`{"blockdevices":[{"path":"/dev/sdm1","parttype":"x","fstype":null}]}`, "/dev/sda / ext4\n",
		"7 (smartctl) D 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 50 1\n",
		"=== START OF READ SMART DATA SECTION ===\nSMART Health Status: OK\n\nPercentage used endurance indicator: 7.5%\n",
		"=== START OF READ SMART DATA SECTION ===\nVendor Specific SMART Attributes with Thresholds:\n  9 Power_On_Hours          -O--CK   099   099   ---    -    1250\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if u, ok := parseUdev(text); ok && (u.path == "" || strings.ContainsAny(u.path, " \n") || u.serial == "") {
			t.Errorf("udev: %+v", u)
		}
		for path, use := range parseCephVolumes(text) {
			if !strings.HasPrefix(path, "/dev/") || use.OSD() < -1 {
				t.Errorf("ceph: %q %+v", path, use)
			}
		}
		for _, path := range parseZpool(text) {
			if path == "" || strings.Contains(path, "\t") {
				t.Errorf("zpool: %q", path)
			}
		}
		for path := range parseMounts(text) {
			if !strings.HasPrefix(path, "/dev/") {
				t.Errorf("mounts: %q", path)
			}
		}
		_, _ = parseLSBLK(text)
		_ = parsePVs(text)
		_, _, _ = parseStat(text)
		s := ParseSMART(text)
		if s.Type != "ata" && len(s.Attributes) > 0 && s.Type != "text" {
			t.Errorf("SMART: %+v", s)
		}
		if w := s.wearout(); w != nil && s.Wearout != nil && *w != *s.Wearout {
			t.Errorf("wearout %v", *w)
		}
	})
}
