package cli

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestManual(t *testing.T) {
	const golden = "testdata/toy.md"
	got := toyTool().Manual(toyMethods())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}
