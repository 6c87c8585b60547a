// Package pattern has regular expressions that are compiled when they are first needed. A command
// lives for milliseconds and needs few of the many that a program has.
package pattern

import (
	"regexp"
	"sync"
)

// A Pattern is a regular expression, see [regexp.Regexp] for the methods.
type Pattern struct {
	text    string
	compile func() *regexp.Regexp
}

// New returns the pattern of a text, which must be a valid one.
func New(text string) *Pattern {
	return &Pattern{text, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// Regexp returns the regular expression itself.
func (p *Pattern) Regexp() *regexp.Regexp { return p.compile() }

// String returns the text of the pattern.
func (p *Pattern) String() string { return p.text }

// MatchString tells whether s has a match.
func (p *Pattern) MatchString(s string) bool { return p.compile().MatchString(s) }

// Match is MatchString for bytes.
func (p *Pattern) Match(b []byte) bool { return p.compile().Match(b) }

// FindString returns the first match in s.
func (p *Pattern) FindString(s string) string { return p.compile().FindString(s) }

// FindStringIndex returns where that is.
func (p *Pattern) FindStringIndex(s string) []int { return p.compile().FindStringIndex(s) }

// FindStringSubmatch returns the first match with its groups, nil for none.
func (p *Pattern) FindStringSubmatch(s string) []string { return p.compile().FindStringSubmatch(s) }

// FindStringSubmatchIndex returns where those are.
func (p *Pattern) FindStringSubmatchIndex(s string) []int {
	return p.compile().FindStringSubmatchIndex(s)
}

// FindSubmatch is FindStringSubmatch for bytes.
func (p *Pattern) FindSubmatch(b []byte) [][]byte { return p.compile().FindSubmatch(b) }

// FindAllString returns up to n matches, all for -1.
func (p *Pattern) FindAllString(s string, n int) []string { return p.compile().FindAllString(s, n) }

// FindAllStringSubmatch returns them with their groups.
func (p *Pattern) FindAllStringSubmatch(s string, n int) [][]string {
	return p.compile().FindAllStringSubmatch(s, n)
}

// ReplaceAllString replaces the matches; $1 in with is the first group.
func (p *Pattern) ReplaceAllString(s, with string) string {
	return p.compile().ReplaceAllString(s, with)
}

// ReplaceAllStringFunc replaces each match by what fn makes of it.
func (p *Pattern) ReplaceAllStringFunc(s string, fn func(string) string) string {
	return p.compile().ReplaceAllStringFunc(s, fn)
}
