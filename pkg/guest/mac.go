package guest

import (
	"fmt"
	"io"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// DefaultMACPrefix is what hardware addresses begin with where the data center has no
// prefix of its own.
const DefaultMACPrefix = "BC:24:11"

// CheckMACPrefix checks what the hardware addresses of guests may begin with.
func CheckMACPrefix(prefix string) error { return schema.CheckFormat("mac-prefix", prefix) }

// NewMAC makes a unicast hardware address with the given prefix, which may be empty, from
// what random delivers.
func NewMAC(prefix string, random io.Reader) (string, error) {
	if prefix == "" {
		prefix = DefaultMACPrefix
	}
	if err := CheckMACPrefix(prefix); err != nil {
		return "", err
	}
	var b [6]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("make a hardware address: %w", err)
	}
	b[0] &^= 1 // for prefixes that leave the first byte open
	made := fmt.Sprintf("%02X:%02X:%02X:%02X:%02X:%02X", b[0], b[1], b[2], b[3], b[4], b[5])
	return strings.ToUpper(prefix) + made[len(prefix):], nil
}
