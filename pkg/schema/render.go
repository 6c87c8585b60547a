package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Render writes a value for people, as the renderer of the given name does: bytes,
// duration, fraction_as_percentage, timestamp, timestamp_gmt. It reports whether it
// knows the renderer and the value suits it; else text is empty and the caller writes the
// value plainly. Times are shown in loc.
func Render(name string, value any, loc *time.Location) (text string, ok bool) {
	n, isNumber := toFloat(value)
	if !isNumber {
		return "", false
	}
	switch name {
	case "bytes":
		// A fraction of a byte is no size; upstream leaves such a value as it is.
		if n < 0 || n != math.Trunc(n) {
			return "", false
		}
		return Bytes(n, 2), true
	case "duration":
		return Duration(n), true
	case "fraction_as_percentage":
		return fmt.Sprintf("%.2f%%", n*100), true
	case "timestamp":
		return time.Unix(int64(n), 0).In(loc).Format(time.DateTime), true
	case "timestamp_gmt":
		return time.Unix(int64(n), 0).UTC().Format(time.DateTime), true
	}
	return "", false
}

// Duration writes seconds as weeks, days, hours, minutes and seconds: 1h 30m.
func Duration(seconds float64) string {
	rest := int64(math.Floor(seconds + 0.5))
	text := ""
	for _, unit := range []struct {
		letter string
		length int64
	}{{"w", 7 * 24 * 3600}, {"d", 24 * 3600}, {"h", 3600}, {"m", 60}, {"s", 1}} {
		n := rest / unit.length
		if n <= 0 {
			continue
		}
		if text != "" {
			text += " "
		}
		text += strconv.FormatInt(n, 10) + unit.letter
		rest -= n * unit.length
	}
	if text == "" {
		return "0s"
	}
	return text
}

// toFloat reads a number out of what decoded JSON, a config or a method may hold.
func toFloat(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case int:
		return float64(v), true
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case Size:
		return float64(v), true
	case json.Number:
		n, err := v.Float64()
		return n, err == nil
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
	}
	return 0, false
}
