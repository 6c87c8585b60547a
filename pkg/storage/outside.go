package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// NewOpenType completes a Type whose options are known only when the program runs:
// config declares them, as TypeOf of package schema has it. open gets them as text, which
// was checked.
func NewOpenType(t Type, config *schema.Struct, open func(schema.Params, Env) (Pool, error)) Type {
	t.Config, t.open = config, open
	return t
}

// kinds are the types a service knows. Those from outside are asked for when they are
// needed: to ask costs a program's start each.
func (s *Service) kinds() []Type {
	s.learning.Lock()
	defer s.learning.Unlock()
	return slices.Concat(s.o.Types, s.learned)
}

// allKinds are all types there are.
func (s *Service) allKinds(ctx context.Context) []Type {
	s.learn(ctx)
	return s.kinds()
}

// kind finds a type.
func (s *Service) kind(ctx context.Context, name string) (Type, bool) {
	t, ok := find(s.kinds(), name)
	if !ok && s.learn(ctx, name) {
		t, ok = find(s.kinds(), name)
	}
	return t, ok
}

// learn asks for types from outside, those with the given names or all of them, and
// tells whether some have been found that were not known before.
func (s *Service) learn(ctx context.Context, names ...string) bool {
	if s.o.Outside == nil {
		return false
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	if len(names) == 0 {
		if s.learnedAll {
			return false
		}
		s.learnedAll = true
	}
	before := len(s.learned)
	for _, t := range s.o.Outside(ctx, names...) {
		known := slices.Concat(s.o.Types, s.learned)
		if _, ok := find(known, t.Name); ok {
			continue
		}
		if why := clash(known, t); why != "" {
			tell(ctx, why)
			continue
		}
		s.learned = append(s.learned, t)
	}
	return len(s.learned) > before
}

// clash tells why a type cannot live beside others: the options of all types are one list
// to those who add storages, so that one name has one kind of value.
func clash(known []Type, t Type) string {
	for _, f := range t.Config.Fields {
		for _, other := range known {
			if o, _ := other.Config.Lookup(f.Name); o != nil && o.Schema.Type != f.Schema.Type {
				return fmt.Sprintf("storage type '%s': property '%s' is a %s, but a %s of type '%s'", t.Name, f.Name, f.Schema.Type, o.Schema.Type, other.Name)
			}
		}
	}
	return ""
}

// parse reads storage.cfg, with the types from outside that occur there.
func (s *Service) parse(ctx context.Context, text string) *Config {
	kinds := s.kinds()
	c := Parse(kinds, s.file(), text)
	var unknown []string
	for _, d := range c.Storages {
		if _, ok := find(kinds, d.Type); !ok && !slices.Contains(unknown, d.Type) {
			unknown = append(unknown, d.Type)
		}
	}
	if len(unknown) > 0 && s.learn(ctx, unknown...) {
		c = Parse(s.kinds(), s.file(), text)
	}
	return c
}
