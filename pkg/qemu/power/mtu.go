package power

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// HostMTU returns the MTU that the network cards of a running VM were told, as
// net0=1400,net1=9000. A saved state only fits cards that were told the same.
func (s *Service) HostMTU(vmid id.VM) string {
	pid, err := s.Dir.Running(vmid)
	if err != nil || pid == 0 {
		return ""
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	var sizes []string
	for word := range strings.SplitSeq(string(text), "\x00") {
		var card, mtu string
		for option := range strings.SplitSeq(word, ",") {
			key, value, _ := strings.Cut(option, "=")
			switch key {
			case "id":
				card = value
			case "host_mtu":
				mtu = value
			}
		}
		if mtu != "" && strings.HasPrefix(card, "net") {
			sizes = append(sizes, card+"="+mtu)
		}
	}
	slices.Sort(sizes)
	return strings.Join(sizes, ",")
}

// ParseHostMTU is the inverse of [Service.HostMTU]: the MTU of each card.
func ParseHostMTU(text string) map[string]int {
	sizes := map[string]int{}
	for part := range strings.SplitSeq(text, ",") {
		card, size, _ := strings.Cut(part, "=")
		if n, err := strconv.Atoi(size); err == nil {
			sizes[card] = n
		}
	}
	return sizes
}
