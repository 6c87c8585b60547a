package host_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func TestKernelAtLeast(t *testing.T) {
	tests := []struct {
		name         string
		text         string
		major, minor int
		want         bool
	}{
		{"same", "Linux version 6.1.0-42-amd64 (x) #1", 6, 1, true},
		{"older", "Linux version 6.1.0-42-amd64 (x) #1", 6, 2, false},
		{"newer", "Linux version 7.0.0-rc1 (x) #1", 6, 17, true},
		{"two numbers", "Linux version 6.18 (x)", 6, 18, true},
		{"garbage", "", 0, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := host.ParseKernel(tt.text).AtLeast(tt.major, tt.minor); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestConformanceKernelVersion(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name        string
			ProcVersion string `json:"proc_version"`
			Expected    []any
		}
	}
	conformance.Load(t, "guest/common-kernel-version", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			k := host.ParseKernel(c.ProcVersion)
			got := []any{float64(k.Major), float64(k.Minor), float64(k.Patch), k.Rest, k.Full}
			if diff := cmp.Diff(c.Expected, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
