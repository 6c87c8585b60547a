package lvm

import (
	"os"
	"testing"
	"time"
)

func FuzzReport(f *testing.F) {
	for _, text := range []string{
		"", "{}", `{"report":[{"vg":[{"vg_name":"pve","vg_size":"1"}]}]}`, `{"report":[{"lv":[{"vg_name":["a",1,null]}]}]}`,
		`{"report":[{"lv":[{"vg_name":"a","lv_name":"b","lv_attr":"-","data_percent":"NaN","lv_size":"-1"}]}]}`,
	} {
		f.Add([]byte(text))
	}
	if text, err := os.ReadFile("testdata/lvs.json"); err == nil {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := parseReport(text)
		if err != nil {
			return
		}
		for _, v := range volumesOf(rows) {
			if v.Name == "" || v.Group == "" || v.Size < 0 || v.Used() < 0 || v.Used() > v.Size+1 {
				t.Errorf("%+v", v)
			}
			_, _, _, _ = v.Plain(), v.Thin(), v.Active(), v.Open()
		}
	})
}

func FuzzStat(f *testing.F) {
	f.Add("314 (cat) D 191 191 191 0 -1 4194304 95 0 2 0 2 1 0 0 20 0 1 0 13712 3125248")
	f.Add("1 (a) b) (c) D 0")
	f.Add(")(")
	f.Fuzz(func(_ *testing.T, text string) { parseStat(text) })
}

func TestWaiting(t *testing.T) {
	name, since, waits := parseStat("314 (lvs) D 191 191 191 0 -1 4194304 95 0 2 0 2 1 0 0 20 0 1 0 13712 3125248")
	if name != "lvs" || since != 137.12 || !waits {
		t.Errorf("%q %v %v", name, since, waits)
	}
	dir := t.TempDir()
	for path, text := range map[string]string{
		"uptime": "200.00 1.0\n", "314/stat": "314 (lvs) D 1 1 1 0 -1 4 9 0 2 0 2 1 0 0 20 0 1 0 13712 3",
		"315/stat": "315 (vgs) D 1 1 1 0 -1 4 9 0 2 0 2 1 0 0 20 0 1 0 19900 3", "316/stat": "316 (pvs) S 1 1 1 0 -1 4 9 0 2 0 2 1 0 0 20 0 1 0 1 3",
	} {
		if err := os.MkdirAll(dir+"/"+path[:3], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := waiting(dir, 10*time.Second); len(got) != 1 || got["lvs"] != 314 {
		t.Error(got)
	}
}
