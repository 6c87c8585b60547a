package lxc

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Config is the configuration of a container as LXC reads it: lines of key = value, whose
// order counts and whose keys may come more than once. The zero Config is empty.
type Config struct{ items []item }

type item struct{ key, value string }

// Add appends a line. The value may be of any form; [Config.Text] refuses what cannot stand
// on a line.
func (c *Config) Add(key, value string) { c.items = append(c.items, item{key, value}) }

// Addf is Add with a format for the value.
func (c *Config) Addf(key, format string, args ...any) { c.Add(key, fmt.Sprintf(format, args...)) }

// Set puts the value in place of all that the key had: where the first of them was, else
// at the end.
func (c *Config) Set(key, value string) {
	at := slices.IndexFunc(c.items, func(i item) bool { return i.key == key })
	if at < 0 {
		c.Add(key, value)
		return
	}
	c.items[at].value = value
	rest := slices.DeleteFunc(slices.Clone(c.items[at+1:]), func(i item) bool { return i.key == key })
	c.items = append(c.items[:at+1], rest...)
}

// Delete removes all lines of a key, and of those below it: "lxc.net.0" has
// "lxc.net.0.type".
func (c *Config) Delete(key string) {
	c.items = slices.DeleteFunc(c.items, func(i item) bool { return i.key == key || strings.HasPrefix(i.key, key+".") })
}

// Get returns the last value of a key, which is the one that counts for keys that have one
// value.
func (c *Config) Get(key string) (value string, ok bool) {
	for _, i := range slices.Backward(c.items) {
		if i.key == key {
			return i.value, true
		}
	}
	return "", false
}

// Values returns all values of a key. As LXC has it, an empty value takes those before
// it away.
func (c *Config) Values(key string) []string {
	var all []string
	for _, i := range c.items {
		switch {
		case i.key != key:
		case i.value == "":
			all = nil
		default:
			all = append(all, i.value)
		}
	}
	return all
}

// All yields the lines in order.
func (c *Config) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, i := range c.items {
			if !yield(i.key, i.value) {
				return
			}
		}
	}
}

// Len is the number of lines.
func (c *Config) Len() int { return len(c.items) }

// Text writes the configuration as LXC reads it. A key that is none, and a value that does
// not fit on a line, are errors: nothing that a user set becomes a line of its own.
func (c *Config) Text() (string, error) {
	out := &strings.Builder{}
	for _, i := range c.items {
		if !isKey(i.key) {
			return "", fmt.Errorf("LXC configuration: %q is no key", i.key)
		}
		if strings.ContainsAny(i.value, "\n\x00") {
			return "", fmt.Errorf("LXC configuration: the value of %s has a line end", i.key)
		}
		value := i.value
		// LXC trims blanks, and takes one pair of quotes off.
		if value != trim(value) || strings.HasPrefix(value, `"`) || strings.HasPrefix(value, "'") {
			value = `"` + value + `"`
		}
		out.WriteString(strings.TrimRight(i.key+" = "+value, " ") + "\n")
	}
	return out.String(), nil
}

// blanks are what LXC takes for a blank.
const blanks = " \t\r\n\v\f"

func trim(text string) string { return strings.Trim(text, blanks) }

// isKey tells whether LXC can read the key back. It refuses what it does not know by itself.
func isKey(key string) bool {
	return strings.HasPrefix(key, "lxc.") && !strings.ContainsAny(key, "=\x00"+blanks)
}

// ParseConfig reads a configuration. Comments and empty lines are not kept.
func ParseConfig(text string) (*Config, error) {
	c, number := &Config{}, 0
	for line := range strings.Lines(text) {
		number++
		line = trim(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = trim(key), trim(value)
		if !ok || !isKey(key) || strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("LXC configuration: line %d is not a key and a value: %q", number, line)
		}
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		c.Add(key, value)
	}
	return c, nil
}
