package lxc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

func TestParseLogLine(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		want lxc.LogLine
		ok   bool
	}{
		"error": {
			"lxc-start 100 20231123072519.123 ERROR    conf - ../src/lxc/conf.c:run_buffer:321 - Script exited with status 1",
			lxc.LogLine{Level: "ERROR", Where: "conf", Message: "Script exited with status 1"}, true,
		},
		"dashes": {
			"lxc-start 100 20231123072519.123 WARN     network - ../src/lxc/network.c:f:9 - No such device - Failed - twice",
			lxc.LogLine{Level: "WARN", Where: "network", Message: "No such device - Failed - twice"}, true,
		},
		"no name": {
			"lxc-start 20231123072519.123 ERROR    lxc_start - ../src/lxc/tools/lxc_start.c:main:306 - The container failed to start",
			lxc.LogLine{Level: "ERROR", Where: "lxc_start", Message: "The container failed to start"}, true,
		},
		"name of two words": {
			"lxc-start ERROR 5 20231123072519.123 INFO     start - a:b:1 - m", lxc.LogLine{Level: "INFO", Where: "start", Message: "m"}, true,
		},
		"foreign":  {"mount: permission denied - sorry - no", lxc.LogLine{}, false},
		"cut":      {"lxc-start 100 20231123072519.123 ERROR    conf - ../src", lxc.LogLine{}, false},
		"no level": {"lxc-start 100 20231123072519.123 OOPS    conf - a - b", lxc.LogLine{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := lxc.ParseLogLine(c.line)
			if diff := cmp.Diff(c.want, got); diff != "" || ok != c.ok {
				t.Error(ok, diff)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	lines := []lxc.LogLine{
		{Level: "INFO", Message: "all is well"},
		{Level: "ERROR", Message: `No such file or directory - Failed to open "/a - b"`},
		{Level: "WARN", Message: "beware"},
		{Level: "ERROR", Message: "Some - thing"},
		{Level: "ERROR", Message: `No such file or directory - Failed to open "/a - b"`},
		{Level: "ERROR", Message: "Failed to spawn container \"100\""},
		{Level: "ERROR", Message: "Connection reset by peer - Failed to receive the container state"},
		{Level: "ERROR", Message: "The container failed to start"},
	}
	if diff := cmp.Diff([]string{`Failed to open "/a - b": no such file or directory`, "Some - thing"}, lxc.Faults(lines)); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseLogLine(f *testing.F) {
	f.Add("lxc-start 100 20231123072519.123 ERROR    conf - ../src/lxc/conf.c:run_buffer:321 - Script exited with status 1")
	f.Fuzz(func(t *testing.T, line string) {
		if l, ok := lxc.ParseLogLine(line); !ok && l != (lxc.LogLine{}) || ok && l.Level == "" {
			t.Errorf("%+v, %v", l, ok)
		}
	})
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{"5.0.2\n": "5.0.2", "6.0": "6.0.0", "4.0.0-devel": "4.0.0", "": "", "5": "", "a.b": "", "1.2.3.4": "", "1.-2": ""} {
		v, err := lxc.ParseVersion(text)
		if got := v.String(); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	if v := (lxc.Version{Major: 5}); !v.AtLeast(4, 9) || !v.AtLeast(5, 0) || v.AtLeast(5, 1) {
		t.Error("AtLeast")
	}
}
