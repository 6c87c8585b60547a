package testnode

import "strings"

// result is what came of one test of those at the top.
type result struct {
	name   string
	status string // PASS, FAIL or SKIP; empty when it did not end
	output []string
}

// report puts the lines of go test -v into the tests they are of.
type report struct {
	tests   []*result
	rest    []string // what is of no test
	current *result
}

// add takes the next line.
func (r *report) add(line string) {
	if mark, name, ok := strings.Cut(strings.TrimPrefix(line, "=== "), " "); ok && strings.HasPrefix(line, "=== ") {
		switch mark {
		case "RUN", "CONT", "NAME", "PAUSE":
			r.current = r.test(strings.TrimSpace(name))
			return
		}
	}
	if status, rest, ok := strings.Cut(strings.TrimPrefix(line, "--- "), ": "); ok && strings.HasPrefix(line, "--- ") {
		switch status {
		case "PASS", "FAIL", "SKIP":
			name, _, _ := strings.Cut(rest, " ")
			t := r.test(name)
			t.status = status
			t.output = append(t.output, line)
			r.current = t // its subtests' results follow
			return
		}
	}
	if r.current == nil || line == "PASS" || line == "FAIL" {
		r.rest = append(r.rest, line)
		return
	}
	r.current.output = append(r.current.output, line)
}

// test returns the test at the top that the one of the given name is in.
func (r *report) test(name string) *result {
	name, _, _ = strings.Cut(name, "/")
	for _, t := range r.tests {
		if t.name == name {
			return t
		}
	}
	t := &result{name: name}
	r.tests = append(r.tests, t)
	return t
}
