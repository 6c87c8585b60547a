package lxcconf_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

func TestProgram(t *testing.T) {
	old, quotes := lxc.Version{Major: 5, Micro: 2}, lxc.Version{Major: 6}
	for _, x := range []struct {
		name, line string
		version    lxc.Version
		raw        []container.RawLine
		want       []string
	}{
		{name: "plain", line: "/bin/a b c", version: old},
		{name: "quotes", line: `/bin/sh -c  "echo 'it is'; x" 'a "b"' c`, version: old, want: []string{"/bin/sh", "-c", "echo 'it is'; x", `a "b"`, "c"}},
		{name: "inside of a word", line: `/bin/a x="b c"`, version: old, want: []string{"/bin/a", `x="b`, `c"`}},
		{name: "nothing in them", line: `/bin/a "" "`, version: old, want: []string{"/bin/a", "", ""}},
		{name: "no end", line: `/bin/a "b c`, version: old, want: []string{"/bin/a", "b c"}},
		{name: "LXC knows quotes", line: `/bin/a "b c"`, version: quotes},
		{name: "a line for LXC", line: `/bin/a "b c"`, version: old, raw: []container.RawLine{{Key: "lxc.init_cmd", Value: "/bin/b"}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := lxcconf.Program(x.version, &container.Config{Entrypoint: &x.line}, x.raw)
			if diff := cmp.Diff(x.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
