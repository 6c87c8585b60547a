package term

import "strconv"

// cell writes a value as text tables show it.
func cell(v any, c Column, o Options) string {
	if v == nil {
		return ""
	}
	if c.Render != nil && !o.Plain {
		if text, ok := c.Render(v); ok {
			return text
		}
	}
	return scalar(v)
}

// scalar writes a value on one line: booleans as 1 and 0, what is made of others as JSON.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "1"
		}
		return "0"
	}
	return EncodeJSON(v)
}

func compareNumbers(a, b string) (int, bool) {
	// What is not set sorts as 0, as it always did.
	x, errX := strconv.ParseFloat(or(a, "0"), 64)
	y, errY := strconv.ParseFloat(or(b, "0"), 64)
	switch {
	case errX != nil || errY != nil:
		return 0, false
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, true
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
