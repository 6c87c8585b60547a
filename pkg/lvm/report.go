package lvm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Group is a volume group.
type Group struct {
	Name    string
	Size    int64 // bytes
	Free    int64
	Extent  int64 // size of the pieces that volumes are made of
	Volumes int   // how many logical volumes it has
}

// A Volume is a logical volume.
type Volume struct {
	Group, Name string
	Size        int64 // bytes
	Attr        string
	Pool        string  // the thin pool that a thin volume is in
	Origin      string  // what a snapshot was made of
	Data        float64 // percent of the data that is used, of thin pools and volumes
	Metadata    float64 // percent of the metadata that is used, of thin pools
	MetaSize    int64   // bytes of metadata, of thin pools
	ThinID      int     // grows with each thin volume of a pool
	Tags        []string
	Created     time.Time // zero where that is not known
}

// at returns one of the letters that lvs describes a volume with.
func (v Volume) at(i int) byte {
	if i < len(v.Attr) {
		return v.Attr[i]
	}
	return '-'
}

// Plain tells whether the volume lies on extents of its own, mirrored ones included.
func (v Volume) Plain() bool { return strings.IndexByte("-mMrR", v.at(0)) >= 0 }

// Thin tells whether the volume is one of a thin pool.
func (v Volume) Thin() bool { return v.at(0) == 'V' }

// IsPool tells whether the volume is a thin pool.
func (v Volume) IsPool() bool { return v.at(0) == 't' }

// Active tells whether the volume can be used on this host.
func (v Volume) Active() bool { return v.at(4) == 'a' }

// Open tells whether something on this host uses the volume.
func (v Volume) Open() bool { return v.at(5) == 'o' }

// ReadOnly tells whether the volume cannot be written to.
func (v Volume) ReadOnly() bool { return v.at(1) == 'r' }

// Used returns how many bytes of a thin pool or volume are taken.
func (v Volume) Used() int64 { return share(v.Data, v.Size) }

// MetadataUsed returns how many bytes of the metadata of a thin pool are taken.
func (v Volume) MetadataUsed() int64 { return share(v.Metadata, v.MetaSize) }

func share(percent float64, of int64) int64 { return int64(percent * float64(of) / 100) }

// Groups reports on volume groups: those named, or all there are.
func (t Tool) Groups(ctx context.Context, names ...string) ([]Group, error) {
	what := "vgs"
	if len(names) > 0 {
		what += " '" + strings.Join(names, " ") + "'"
	}
	text, err := t.look(ctx, what, "vgs", append(reportArgs("vg_name,vg_size,vg_free,vg_extent_size,lv_count"), names...)...)
	if err != nil {
		return nil, err
	}
	rows, err := parseReport(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var found []Group
	for _, r := range rows {
		if r.VGName == "" {
			continue
		}
		found = append(found, Group{
			Name: string(r.VGName), Size: r.VGSize.bytes(), Free: r.VGFree.bytes(), Extent: r.Extent.bytes(), Volumes: int(r.Count.bytes()),
		})
	}
	return found, nil
}

// Volumes reports on the logical volumes of a group, or of all groups where none is
// named, in the order LVM has them. A group that is not there is ErrMissing.
func (t Tool) Volumes(ctx context.Context, group string) ([]Volume, error) {
	what, args := "lvs", reportArgs("vg_name,lv_name,lv_size,lv_attr,pool_lv,origin,data_percent,metadata_percent,lv_metadata_size,thin_id,lv_tags,lv_time")
	if group != "" {
		what, args = "lvs '"+group+"'", append(args, group)
	}
	text, err := t.look(ctx, what, "lvs", args...)
	if err != nil {
		return nil, err
	}
	rows, err := parseReport(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return volumesOf(rows), nil
}

// volumesOf returns the volumes of a report. As the number of a thin volume is one of its
// segment, those of several segments are there several times.
func volumesOf(rows []row) []Volume {
	var found []Volume
	seen := map[[2]string]bool{}
	for _, r := range rows {
		v, ok := volumeOf(r)
		if key := [2]string{v.Group, v.Name}; ok && !seen[key] {
			seen[key] = true
			found = append(found, v)
		}
	}
	return found
}

func volumeOf(r row) (Volume, bool) {
	v := Volume{
		Group: string(r.VGName), Name: string(r.LVName), Size: r.LVSize.bytes(), Attr: string(r.Attr),
		Pool: string(r.Pool), Origin: string(r.Origin), Data: r.Data.percent(), Metadata: r.Metadata.percent(),
		MetaSize: r.MetaSize.bytes(), ThinID: int(r.ThinID.bytes()),
	}
	if r.Tags != "" {
		v.Tags = strings.Split(string(r.Tags), ",")
	}
	if at := r.Time.bytes(); at > 0 {
		v.Created = time.Unix(at, 0)
	}
	return v, v.Group != "" && v.Name != ""
}

// PVGroup returns the volume group that a device is in, and whether it is a physical
// volume of LVM at all.
func (t Tool) PVGroup(ctx context.Context, device string) (group string, is bool, err error) {
	text, err := t.look(ctx, "pvs", "pvs", reportArgs("pv_name,vg_name")...)
	if err != nil {
		return "", false, err
	}
	rows, err := parseReport(text)
	if err != nil {
		return "", false, fmt.Errorf("pvs: %w", err)
	}
	for _, r := range rows {
		if same(string(r.PVName), device) {
			return string(r.VGName), true, nil
		}
	}
	return "", false, nil
}

// reportArgs are the arguments of programs that report. Times are seconds since 1970,
// as the usual form depends on where the host is.
func reportArgs(columns string) []string {
	return []string{
		"--reportformat", "json", "--units", "b", "--nosuffix",
		"--config", `report/time_format="%s"`, "--options", columns,
	}
}

// A row is what a report says of one thing.
type row struct {
	VGName   value `json:"vg_name"`
	VGSize   value `json:"vg_size"`
	VGFree   value `json:"vg_free"`
	Extent   value `json:"vg_extent_size"`
	Count    value `json:"lv_count"`
	PVName   value `json:"pv_name"`
	LVName   value `json:"lv_name"`
	LVSize   value `json:"lv_size"`
	Attr     value `json:"lv_attr"`
	Pool     value `json:"pool_lv"`
	Origin   value `json:"origin"`
	Data     value `json:"data_percent"`
	Metadata value `json:"metadata_percent"`
	MetaSize value `json:"lv_metadata_size"`
	ThinID   value `json:"thin_id"`
	Tags     value `json:"lv_tags"`
	Time     value `json:"lv_time"`
}

// A value is text, whatever form it has in the report: older LVM writes text, newer can
// write numbers and lists.
type value string

// UnmarshalJSON reads a value.
func (v *value) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) == 0 || string(b) == "null":
		return nil
	case b[0] == '"' && bytes.IndexByte(b, '\\') < 0: // nearly all
		*v = value(bytes.TrimSpace(b[1 : len(b)-1]))
		return nil
	case b[0] == '"':
		var text string
		err := json.Unmarshal(b, &text)
		*v = value(strings.TrimSpace(text))
		return err
	case b[0] == '[':
		var list []value
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		var words []string
		for _, one := range list {
			words = append(words, string(one))
		}
		*v = value(strings.Join(words, ","))
		return nil
	}
	*v = value(b)
	return nil
}

func (v value) bytes() int64 {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (v value) percent() float64 {
	n, err := strconv.ParseFloat(string(v), 64)
	if err != nil || !(n > 0) {
		return 0
	}
	return min(n, 100)
}

// parseReport reads the rows of a report, whatever it is about.
func parseReport(text []byte) ([]row, error) {
	var said struct {
		Report []map[string][]row `json:"report"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("the report cannot be read: %w", err)
	}
	var rows []row
	for _, part := range said.Report {
		for _, kind := range []string{"vg", "lv", "seg", "pv"} { // not the log, if it has one
			rows = append(rows, part[kind]...)
		}
	}
	return rows, nil
}
