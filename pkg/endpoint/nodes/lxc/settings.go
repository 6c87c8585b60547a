package lxc

import (
	"reflect"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// settings are the options of a container as callers set them: all but those in which
// commands keep note of what they did, which the fields without tags hide.
type settings struct {
	container.Config
	Parent, SnapTime hidden

	Given schema.Given
}

type hidden struct{}

// options returns what was given for options of the container, as text.
func (s settings) options() schema.Params {
	known, values := schema.TypeOf(reflect.TypeFor[container.Config]()), schema.Params{}
	for name, text := range s.Given {
		if f, _ := known.Lookup(name); f != nil {
			values[name] = text
		}
	}
	return values
}
