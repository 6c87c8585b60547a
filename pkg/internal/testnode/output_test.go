package testnode

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	const output = `before all
=== RUN   TestOne
    one_test.go:5: said
=== RUN   TestOne/part
--- FAIL: TestOne (1.50s)
    --- FAIL: TestOne/part (0.00s)
        one_test.go:9: wrong
=== RUN   TestTwo
=== PAUSE TestTwo
=== RUN   TestThree
    three_test.go:1: no device
--- SKIP: TestThree (0.00s)
=== CONT  TestTwo
--- PASS: TestTwo (0.01s)
=== RUN   TestFour
panic: oh`
	var r report
	for line := range strings.SplitSeq(output, "\n") {
		r.add(line)
	}
	var got []string
	for _, t := range r.tests {
		got = append(got, t.name+" "+t.status+"\n"+strings.Join(t.output, "\n"))
	}
	want := []string{
		"TestOne FAIL\n    one_test.go:5: said\n--- FAIL: TestOne (1.50s)\n    --- FAIL: TestOne/part (0.00s)\n        one_test.go:9: wrong",
		"TestTwo PASS\n--- PASS: TestTwo (0.01s)",
		"TestThree SKIP\n    three_test.go:1: no device\n--- SKIP: TestThree (0.00s)",
		"TestFour \npanic: oh",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"before all"}, r.rest); diff != "" {
		t.Errorf("of no test (-want +got):\n%s", diff)
	}
}
