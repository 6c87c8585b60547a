package qemu

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const customModels = `# of ours
cpu-model: mine
    flags +aes;-pcid
    reported-model Nehalem
    level nine
    hidden 1

cpu-model: bare

storage: other
    path /x
`

func TestParseCustomCPUModels(t *testing.T) {
	var warnings []string
	got := ParseCustomCPUModels("cpu-models.conf", []byte(customModels), func(text string) { warnings = append(warnings, text) })
	want := map[string]CPU{
		"mine": {Flags: new("+aes;-pcid"), ReportedModel: new("Nehalem"), Hidden: new(true)},
		"bare": {ReportedModel: new("kvm64")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "'level'") || !strings.Contains(warnings[1], "storage") {
		t.Errorf("warnings %q", warnings)
	}
}
