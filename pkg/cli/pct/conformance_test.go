package pct

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
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
	transcript.Runner{
		Program: program(t), Deviations: deviations(),
		// The machine of the recordings had 64 processors.
		Rewrite: func(text string) string {
			if strings.Contains(text, "\nname: apps.example.com\n") {
				return text // this one has two of its own
			}
			return strings.Replace(text, fmt.Sprintf("cpus: %d\n", runtime.NumCPU()), "cpus: 64\n", 1)
		},
	}.Run(t, "cli/cli-pct")
}

// deviations are the cases where we differ knowingly, with the reason.
func deviations() map[string]string {
	return map[string]string{
		"lab: pct set 202 --delete cores": "an option that is deleted is gone; upstream makes its pending value hold instead",
		"lab: pct rollback 203 s1":        "upstream tries it and leaves the container locked; we see first that the volume cannot go back",
	}
}
