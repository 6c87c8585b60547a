package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
)

const cpuinfo = `processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Processor
cpu MHz		: 2300.000
physical id	: 0
flags		: fpu vme svm
vmx flags	: vnmi
address sizes	: 48 bits physical, 57 bits virtual

processor	: 1
vendor_id	: Other
physical id	: 1
flags		: fpu
`

func TestParseCPU(t *testing.T) {
	want := host.CPU{
		Vendor: "GenuineIntel", Model: "Intel(R) Xeon(R) Processor", MHz: 2300, Flags: []string{"fpu", "vme", "svm"}, Count: 2, Sockets: 2, PhysBits: 48,
	}
	if diff := cmp.Diff(want, host.ParseCPU(cpuinfo)); diff != "" {
		t.Error(diff)
	}
}

func TestProbeKVM(t *testing.T) {
	device := filepath.Join(t.TempDir(), "kvm")
	with, without := host.CPU{Flags: []string{"vmx"}}, host.CPU{}
	if got := with.ProbeKVM(device, "x86_64"); got.Opens || got.Trusted || got.Why == nil {
		t.Errorf("no device: %+v", got)
	}
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := with.ProbeKVM(device, "x86_64"); !got.Opens || !got.Trusted {
		t.Errorf("all there: %+v", got)
	}
	if got := without.ProbeKVM(device, "x86_64"); !got.Opens || got.Trusted || got.Why == nil {
		t.Errorf("no flag: %+v", got)
	}
	if got := without.ProbeKVM(device, "aarch64"); !got.Trusted {
		t.Errorf("other CPU: %+v", got)
	}
}

func FuzzParseCPU(f *testing.F) {
	f.Add(cpuinfo)
	f.Fuzz(func(t *testing.T, text string) {
		if c := host.ParseCPU(text); c.Count > 0 && c.Sockets < 1 {
			t.Errorf("%+v", c)
		}
	})
}
