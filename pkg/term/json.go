package term

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// EncodeJSON writes a value as JSON with sorted keys and no blanks. Other than
// encoding/json it leaves <, > and & as they are.
func EncodeJSON(v any) string {
	var b strings.Builder
	encode(&b, v, "")
	return b.String()
}

// EncodeJSONPretty writes a value as JSON with sorted keys, three blanks a level, a blank
// on either side of the colon and a line end.
func EncodeJSONPretty(v any) string {
	var b strings.Builder
	encode(&b, v, "\n")
	return b.String() + "\n"
}

// encode writes v. nl is the line end and indentation of where v stands, or empty for
// JSON without blanks.
func encode(b *strings.Builder, v any, nl string) {
	colon, deeper := ":", ""
	if nl != "" {
		colon, deeper = " : ", nl+"   "
	}
	switch v := plain(v).(type) {
	case map[string]any:
		if len(v) == 0 {
			b.WriteString("{}")
			return
		}
		for i, key := range slices.Sorted(maps.Keys(v)) {
			b.WriteString(opening(i, '{') + deeper)
			quote(b, key)
			b.WriteString(colon)
			encode(b, v[key], deeper)
		}
		b.WriteString(nl + "}")
	case []any:
		if len(v) == 0 {
			b.WriteString("[]")
			return
		}
		for i, item := range v {
			b.WriteString(opening(i, '[') + deeper)
			encode(b, item, deeper)
		}
		b.WriteString(nl + "]")
	case string:
		quote(b, v)
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	default:
		b.WriteString(number(v))
	}
}

func opening(i int, bracket byte) string {
	if i > 0 {
		return ","
	}
	return string(bracket)
}

// plain brings lists and maps of other element types into the two general forms.
func plain(v any) any {
	switch v := v.(type) {
	case []map[string]any:
		return anyList(v)
	case []string:
		return anyList(v)
	case []int:
		return anyList(v)
	case map[string]string:
		return anyMap(v)
	case map[string]int:
		return anyMap(v)
	case nil, bool, string, []any, map[string]any, int, int64, float64, uint64, json.Number:
		return v
	}
	// Anything else goes by its own JSON.
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var decoded any
	if err := dec.Decode(&decoded); err != nil {
		return nil
	}
	return decoded
}

func anyList[T any](list []T) []any {
	out := make([]any, len(list))
	for i, item := range list {
		out[i] = item
	}
	return out
}

func anyMap[T any](m map[string]T) map[string]any {
	out := make(map[string]any, len(m))
	for key, item := range m {
		out[key] = item
	}
	return out
}

// number writes a number with at most 15 digits behind a point, so that sums of
// fractions look as they were meant.
func number(v any) string {
	switch v := v.(type) {
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case json.Number:
		return v.String()
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatInt(int64(v), 10)
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "null"
		}
		if short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 15, 64), 64); err == nil {
			v = short
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return "null"
}

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError:
			b.WriteString("\uFFFD")
		case r >= ' ' && r != 0x7f:
			b.WriteRune(r)
		default:
			b.WriteString(escape(r))
		}
	}
	b.WriteByte('"')
}

func escape(r rune) string {
	if i := strings.IndexRune("\b\t\n\f\r", r); i >= 0 {
		return `\` + "btnfr"[i:i+1]
	}
	const hex = "0123456789abcdef"
	return `\u00` + string(hex[r>>4&15]) + string(hex[r&15])
}
