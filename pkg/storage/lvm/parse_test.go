package lvm

import "testing"

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{"10485760": 10 << 20, "-10485760": 10 << 20, "10m": 10 << 20, "1G": 1 << 30, "5k": 5 << 10, "0": 0, "": -1, "-": -1, "m": -1, "1.5m": -1, "--1": -1, "99999999999999999999": -1, "9999999999g": -1} {
		got, err := parseRate(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

func FuzzMeasure(f *testing.F) {
	f.Add([]byte(`{"required": 327680, "fully-allocated": 16777216}`))
	f.Add([]byte(`{"fully-allocated": -1}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, text []byte) {
		if kib, err := parseMeasure(text); err == nil && (kib <= 0 || kib > 1<<50) {
			t.Error(kib)
		}
	})
}

func FuzzRate(f *testing.F) {
	f.Add("-10m")
	f.Fuzz(func(t *testing.T, text string) {
		if rate, err := parseRate(text); err == nil && rate < 0 {
			t.Error(rate)
		}
	})
}
