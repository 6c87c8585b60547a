package pct

import (
	"os/exec"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/transcript"
)

func TestMain(m *testing.M) { transcript.Main(m, "pct", Main) }

func program(t *testing.T) string {
	t.Helper()
	return transcript.Program(t, "pct")
}

func TestConformancePct(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	transcript.Runner{Program: program(t), Deviations: deviations()}.Run(t, "cli/cli-pct")
}

// deviations are the cases where we differ knowingly, with the reason.
func deviations() map[string]string {
	return map[string]string{}
}
