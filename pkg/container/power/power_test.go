package power

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/link"
)

func TestLeastBound(t *testing.T) {
	all := []int{0, 1, 2, 3}
	for name, c := range map[string]struct {
		bound map[int]int
		n     int
		vmid  int
		want  []int
	}{
		"none is bound":      {nil, 2, 100, []int{0, 1}},
		"begins elsewhere":   {nil, 2, 103, []int{0, 3}},
		"the least bound":    {map[int]int{0: 2, 1: 1, 2: 1, 3: 0}, 1, 100, []int{3}},
		"then the next":      {map[int]int{0: 2, 1: 1, 2: 1, 3: 0}, 3, 100, []int{1, 2, 3}},
		"all bound the same": {map[int]int{0: 1, 1: 1, 2: 1, 3: 1}, 1, 102, []int{2}},
	} {
		if got := leastBound(all, c.bound, c.n, c.vmid); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string][]int{"": nil, "0\n": {0}, "0-2,5": {0, 1, 2, 5}, "7,3-4": {7, 3, 4}} {
		if got, err := ParseCPUs(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"a", "3-1", "1-", "-1", "1,,b", "70000"} {
		if got, err := ParseCPUs(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	f.Add("0-3,6")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 100 {
			return
		}
		if cpus, err := ParseCPUs(text); err != nil && cpus != nil {
			t.Errorf("%v and %v", cpus, err)
		}
	})
}

func TestGuestDevice(t *testing.T) {
	for name, want := range map[string]string{
		"veth100i0": "100", "fwbr100i12": "100", "fwln100i1": "100", "fwpr100p1": "100", "ifb100i0": "100",
		"veth1000i0": "1000", "tap100i0": "", "veth100i0p": "", "xveth100i0": "", "fwpr100i1": "",
	} {
		got := ""
		if m := guestDevice.FindStringSubmatch(name); m != nil {
			got = m[1] + m[3]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// fakeNet notes what is asked of it.
type fakeNet struct {
	Net
	done []string
}

func (n *fakeNet) Join(device string, j link.Join) (link.Joined, error) {
	n.done = append(n.done, "join "+device+" "+j.Bridge)
	return link.Joined{}, nil
}

func (n *fakeNet) Limit(device string, rate uint64) error {
	n.done = append(n.done, "limit "+device)
	return nil
}

func (n *fakeNet) SetUp(device string, up bool) error {
	if !up {
		n.done = append(n.done, "unplug "+device)
	}
	return nil
}

func TestPlug(t *testing.T) {
	for name, c := range map[string]struct {
		card container.Net
		want []string
	}{
		"plain":     {container.Net{Bridge: new("vmbr0")}, []string{"join veth100i0 vmbr0"}},
		"rate":      {container.Net{Bridge: new("vmbr0"), Rate: new(2.5)}, []string{"join veth100i0 vmbr0", "limit veth100i0"}},
		"link down": {container.Net{Bridge: new("vmbr0"), LinkDown: new(true)}, []string{"join veth100i0 vmbr0", "unplug veth100i0"}},
		"no bridge": {container.Net{}, nil},
	} {
		net := &fakeNet{}
		if err := Plug(net, "veth100i0", c.card); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, net.done); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, _, err := JoinOf(container.Net{Bridge: new("b"), Trunks: new("x")}); err == nil {
		t.Error("trunks of no number")
	}
}
