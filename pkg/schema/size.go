package schema

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Size is a number of bytes as configurations write it: 32G, 528K, 1.5T.
type Size int64

// ErrSize is the error of a text that is no size.
var ErrSize = errors.New("value does not look like a valid disk size")

// The binary units of a size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// ParseSize reads a number with an optional fraction and an optional unit K, M, G or
// T, which may be followed by iB. What is less than a byte is cut off.
func ParseSize(s string) (Size, error) {
	number, shift := s, 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		if n, ok := strings.CutSuffix(strings.TrimSuffix(s, "iB"), unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	r, ok := decimal(number)
	if !ok || strings.HasPrefix(number, ".") || strings.HasSuffix(number, ".") {
		return 0, fmt.Errorf("%q: %w", s, ErrSize)
	}
	bytes := scaled(r, shift, false)
	if !bytes.IsInt64() {
		return 0, fmt.Errorf("%q: %w: it is too large", s, ErrSize)
	}
	return Size(bytes.Int64()), nil
}

// decimal reads digits with at most one point, and nothing else.
func decimal(s string) (*big.Rat, bool) {
	digits := strings.Replace(s, ".", "", 1)
	if digits == "" || len(digits) > 64 || strings.Trim(digits, "0123456789") != "" {
		return nil, false
	}
	return new(big.Rat).SetString("0" + strings.TrimSuffix(s, "."))
}

// scaled returns r·2^shift as a whole number, rounded up or towards zero.
func scaled(r *big.Rat, shift int, up bool) *big.Int {
	num, den := new(big.Int).Set(r.Num()), new(big.Int).Set(r.Denom())
	if shift >= 0 {
		num.Lsh(num, uint(shift))
	} else {
		den.Lsh(den, uint(-shift))
	}
	whole, rest := new(big.Int).QuoRem(num, den, new(big.Int))
	if up && rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return whole
}

// String writes the size with the largest unit that divides it, which for 0 is T.
func (s Size) String() string {
	unit := ""
	for _, larger := range []string{"K", "M", "G", "T"} {
		if s%1024 != 0 {
			break
		}
		s, unit = s/1024, larger
	}
	return strconv.FormatInt(int64(s), 10) + unit
}

// Describe gives the schema of a size.
func (Size) Describe(s *Schema) { s.Type, s.Format = "string", "disk-size" }

// MarshalText writes the size as [Size.String] does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what [ParseSize] reads.
func (s *Size) UnmarshalText(text []byte) error {
	size, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = size
	return nil
}

// ConvertSize converts a decimal number between the units b, kb, mb, gb, tb and pb,
// which are binary, and rounds up, or down when roundUp is false.
func ConvertSize(value, from, to string, roundUp bool) (*big.Int, error) {
	if value == "" {
		return nil, errors.New("no value given")
	}
	from, to = strings.ToLower(from), strings.ToLower(to)
	shiftFrom, okFrom := unitShift(from)
	shiftTo, okTo := unitShift(to)
	if !okFrom || !okTo {
		return nil, fmt.Errorf("unknown 'from' and/or 'to' units (%s => %s)", from, to)
	}
	r, ok := decimal(value)
	if !ok {
		return nil, fmt.Errorf("value '%s' is not a valid, positive number", value)
	}
	return scaled(r, shiftFrom-shiftTo, roundUp), nil
}

func unitShift(unit string) (int, bool) {
	for i, name := range []string{"b", "kb", "mb", "gb", "tb", "pb"} {
		if unit == name {
			return 10 * i, true
		}
	}
	return 0, false
}

// Bytes writes a number of bytes for people: 4.02 TiB. Units go up to EiB.
func Bytes(n float64, precision int) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for math.Abs(n) >= 1024 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return strconv.FormatFloat(n, 'f', precision, 64) + " " + units[i]
}
