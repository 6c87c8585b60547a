package hook_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

func script(t *testing.T, text string, mode os.FileMode) hook.Script {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook.sh")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return hook.Script{Volume: "local:snippets/hook.sh", Path: path}
}

func TestRun(t *testing.T) {
	good := script(t, "#!/bin/sh\necho \"$1 at $2\"\necho note >&2\n", 0o755)
	bad := script(t, "#!/bin/sh\necho \"no room on $2\" >&2\nexit 3\n", 0o755)
	plain := script(t, "#!/bin/sh\n", 0o644)
	gone := hook.Script{Volume: "local:snippets/hook.sh", Path: filepath.Join(t.TempDir(), "none")}
	tests := []struct {
		name             string
		script           hook.Script
		phase            hook.Phase
		out, stderr, err string
	}{
		{"fine", good, hook.PreStart, "100 at pre-start\n", "note\n", ""},
		{"fine later", good, hook.PostStop, "100 at post-stop\n", "note\n", ""},
		{"fails before", bad, hook.PreStart, "", "no room on pre-start\n", "hookscript error for 100 on pre-start: command '" + bad.Path + " 100 pre-start' failed: exit code 3"},
		{
			"fails after", bad, hook.PostStart, "",
			"no room on post-start\nWARN: hookscript error for 100 on post-start: command '" + bad.Path + " 100 post-start' failed: exit code 3\n", "",
		},
		{"not executable", plain, hook.PreStart, "", "", "hookscript error for 100 on pre-start: script 'local:snippets/hook.sh' is not executable"},
		{"gone", gone, hook.PreStop, "", "WARN: hookscript error for 100 on pre-stop: script 'local:snippets/hook.sh' does not exist\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			ctx := api.WithStreams(t.Context(), api.Streams{Out: &out, Err: &stderr})
			err := hook.Run(ctx, run.Host{}, tt.script, 100, tt.phase)
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.out+"|"+tt.stderr, out.String()+"|"+stderr.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := hook.Run(ctx, run.Host{}, script(t, "#!/bin/sh\nsleep 60\n", 0o755), 100, hook.PostStart); err == nil {
		t.Error("an aborted task goes on")
	}
}

func TestDryRun(t *testing.T) {
	var out bytes.Buffer
	s := script(t, "#!/bin/sh\nexit 1\n", 0o755)
	err := hook.Run(plan.With(t.Context(), plan.New(&out)), run.Host{}, s, 100, hook.PreStart)
	if diff := cmp.Diff(s.Path+" 100 pre-start\n", out.String()); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
