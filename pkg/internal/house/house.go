// Package house holds the project to its own rules: who may import whom, where
// a third-party module lives, what a file may look like. The rules that need a
// list are data in floors.txt; the tests beside it read the whole tree.
package house

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Plan is what floors.txt says.
type Plan struct {
	floors     map[string]int
	beside     map[string][]string
	homes      map[string][]string
	exceptions map[[2]string]string
}

// ReadPlan reads floors.txt.
func ReadPlan(r io.Reader) (*Plan, error) {
	p := &Plan{
		floors:     map[string]int{},
		beside:     map[string][]string{},
		homes:      map[string][]string{},
		exceptions: map[[2]string]string{},
	}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := p.line(words); err != nil {
			return nil, fmt.Errorf("floors.txt line %d: %w", n, err)
		}
	}
	return p, lines.Err()
}

func (p *Plan) line(words []string) error {
	if len(words) < 3 {
		return fmt.Errorf("%q wants at least two more words", words[0])
	}
	subject, rest := words[1], words[2:]
	switch words[0] {
	case "floor":
		n, err := strconv.Atoi(subject)
		if err != nil {
			return err
		}
		for _, pkg := range rest {
			p.floors[pkg] = n
		}
	case "beside":
		p.beside[subject] = append(p.beside[subject], rest...)
	case "home":
		p.homes[subject] = append(p.homes[subject], rest...)
	case "except":
		if len(words) < 4 {
			return fmt.Errorf("exception %s %s gives no reason", subject, rest[0])
		}
		p.exceptions[[2]string{subject, rest[0]}] = strings.Join(rest[1:], " ")
	default:
		return fmt.Errorf("unknown word %q", words[0])
	}
	return nil
}

// Floor returns the floor of a package given by its path below pkg/; ok is
// false where the plan does not place it.
func (p *Plan) Floor(pkg string) (floor int, ok bool) {
	for ; pkg != "."; pkg = path.Dir(pkg) {
		if floor, ok := p.floors[pkg]; ok {
			return floor, true
		}
	}
	return 0, false
}

// Import says what is wrong with one package of ours importing another, or
// nothing.
func (p *Plan) Import(from, to string) string {
	f, ok := p.Floor(from)
	if !ok {
		return fmt.Sprintf("%s stands on no floor: add it to floors.txt", from)
	}
	t, ok := p.Floor(to)
	switch {
	case strings.HasPrefix(to, "internal/") && !ok:
		return fmt.Sprintf("%s imports %s, which is for tests", from, to)
	case !ok:
		return fmt.Sprintf("%s imports %s, which stands on no floor", from, to)
	case path.Base(to) == "all" && from != "app":
		return fmt.Sprintf("%s imports %s, which is for app alone", from, to)
	case t < f || below(from, to) || p.mayBeside(from, to) || path.Base(from) == "all" && below(to, path.Dir(from)):
		return ""
	}
	return fmt.Sprintf("%s (floor %d) imports %s (floor %d)", from, f, to, t)
}

func (p *Plan) mayBeside(from, to string) bool {
	for ; from != "."; from = path.Dir(from) {
		if slices.Contains(p.beside[from], to) {
			return true
		}
	}
	return false
}

// Foreign says what is wrong with a package of ours importing one of a
// third-party module, or nothing.
func (p *Plan) Foreign(from, to string, test bool) string {
	for module, homes := range p.homes {
		if !below(to, module) {
			continue
		}
		for _, home := range homes {
			if home == "anywhere" || home == "tests" && test || below(from, home) {
				return ""
			}
		}
		return fmt.Sprintf("%s imports %s, whose home is %s", from, to, strings.Join(homes, ", "))
	}
	return fmt.Sprintf("%s imports %s, which has no home in floors.txt", from, to)
}

// Excepted tells whether the plan lists an exception to a rule for a place.
func (p *Plan) Excepted(rule, place string) bool {
	_, ok := p.exceptions[[2]string{rule, place}]
	return ok
}

// below tells whether pkg is dir or lies below it.
func below(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}
