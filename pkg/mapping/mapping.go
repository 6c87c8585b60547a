// Package mapping reads the names that a cluster gives to devices and directories of
// its nodes, so that a guest can use them wherever it runs: mapping/pci.cfg, usb.cfg
// and directory.cfg.
//
// A name stands for something else on each node. Before a device is used it is
// compared with what the mapping says it is: after a change of hardware an address may
// belong to another device.
package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// section is one name and what the file says of it.
type section struct {
	id     string
	values schema.Params
	maps   []string
}

// reader reads one file leniently: what is wrong is told and left out.
type reader struct {
	file  string
	keys  map[string]*schema.Schema // beside map
	warn  func(string)
	found []section
}

// read returns the sections of a file in their order. A section is a line with its
// name, indented lines with a key and a value, and an empty line.
func (r *reader) read(text string) []section {
	var in *section
	var skip bool
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		switch trimmed := strings.TrimSpace(line); {
		case strings.HasPrefix(trimmed, "#"):
		case trimmed == "":
			in, skip = nil, false
		case line[0] != ' ' && line[0] != '\t' && in == nil && !skip:
			if fault := r.header(trimmed); fault != "" {
				r.warn(fmt.Sprintf("file %s line %d (skip section '%s'): %s", r.file, number, trimmed, fault))
				skip = true
				continue
			}
			r.found = append(r.found, section{id: trimmed, values: schema.Params{}})
			in = &r.found[len(r.found)-1]
		case in != nil:
			if err := r.property(in, trimmed); err != nil {
				key, _ := split(trimmed)
				r.warn(fmt.Sprintf("file %s line %d (section '%s') - unable to parse value of '%s': %s", r.file, number, in.id, key, err))
			}
		case !skip:
			r.warn(fmt.Sprintf("file %s line %d - ignore config line: %s", r.file, number, trimmed))
		}
	}
	return r.found
}

// split parts a line into its key and its value.
func split(line string) (key, value string) {
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.TrimSpace(line[i:])
}

func (r *reader) header(name string) string {
	if strings.ContainsAny(name, " \t") {
		return "not a name"
	}
	if err := schema.CheckFormat("pve-configid", name); err != nil {
		return err.Error()
	}
	if slices.ContainsFunc(r.found, func(s section) bool { return s.id == name }) {
		return "duplicate ID"
	}
	return ""
}

func (r *reader) property(in *section, line string) error {
	key, value := split(line)
	if key == "map" {
		in.maps = append(in.maps, value)
		return nil
	}
	kind := r.keys[key]
	if kind == nil {
		return fmt.Errorf("unexpected property '%s'", key)
	}
	if _, ok := in.values[key]; ok {
		return errors.New("duplicate attribute")
	}
	kept, err := kind.CheckStored(value)
	if err != nil {
		return err
	}
	in.values[key] = kept
	return nil
}

// entries decodes the maps of a section. Those that cannot be read are told and left
// out.
func entries[E any](r *reader, s section) []E {
	var found []E
	for _, text := range s.maps {
		var e E
		if err := schema.Parse(text, &e); err != nil {
			r.warn(fmt.Sprintf("file %s (section '%s') - unable to parse value of 'map': %s", r.file, s.id, strings.TrimSpace(err.Error())))
			continue
		}
		found = append(found, e)
	}
	return found
}

// on returns the entries for a node.
func on[E any](all []E, node id.Node, of func(E) id.Node) []E {
	return slices.DeleteFunc(slices.Clone(all), func(e E) bool { return of(e) != node })
}
