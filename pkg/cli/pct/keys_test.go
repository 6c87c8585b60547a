package pct

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// A keyCT is a container that shows what keys of its configuration do.
type keyCT struct {
	name    string
	shift   int                            // of the owners in its root; 100000 where it is 0, none where it is negative
	prepare func(t *testing.T, l *keyLab)  // before it starts; may add to lines
	lines   []string                       // of its configuration; ID and ROOT stand for what they are
	off     bool                           // it is not started
	starts  func(t *testing.T, out string) // looks at what its start has said
	ready   string                         // shell that waits until it is up; nothing for the usual
	stopped func(t *testing.T, l *keyLab)  // once it has been stopped
	proofs  []keyProof
}

// A keyProof shows what keys do. Keys are named as in spec/ct-config.json, those of a property
// string as net[n].rate; lines for LXC by their own name. inside is a line of shell in the
// container, what it prints has to match want; show looks from outside.
type keyProof struct {
	keys         string
	inside, want string
	show         func(*testing.T, *keyLab)
}

// A keyLab is a container that proofs look at.
type keyLab struct {
	*testCT
	bridge, network string   // where it has a card
	lines           []string // of its configuration
	said            string   // at its start
}

// keyCTs are all of them.
func keyCTs() []keyCT {
	return slices.Concat(limitCTs(), mountCTs(), netCTs(), rawCTs(), keptCTs())
}

// Every key of a container acts: inside, on the host, in what LXC is told or in what commands
// do.
func TestKeys(t *testing.T) {
	if testnode.Inside() {
		testnode.LXC(t)
		testnode.SubIDs(t, "root:100000:65536\nroot:200000:65536\n")
	}
	for _, x := range keyCTs() {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			l := newKeyLab(t, x)
			if !x.off {
				l.said = l.run("start")
				if x.starts != nil {
					x.starts(t, l.said)
				}
			}
			printed := l.insides(x)
			for i, p := range x.proofs {
				name, _, _ := strings.Cut(p.keys, " ")
				t.Run(name, func(t *testing.T) {
					if p.inside != "" && !regexp.MustCompile(`^(?:`+p.want+`)$`).MatchString(printed[i]) {
						t.Errorf("%s\nprints %q, want %s", p.inside, printed[i], p.want)
					}
					if p.show != nil {
						p.show(t, &keyLab{&testCT{&testNode{t, l.root, l.pct}, l.id, l.addr}, l.bridge, l.network, l.lines, l.said})
					}
				})
			}
			if !x.off {
				l.run("stop")
				l.nothing()
			}
			if x.stopped != nil {
				x.stopped(t, l)
			}
		})
	}
}

// newKeyLab makes the container of x.
func newKeyLab(t *testing.T, x keyCT) *keyLab {
	t.Helper()
	n := newNode(t)
	c := &testCT{testNode: n, id: testct.ID(t)}
	shift := max(x.shift, 0)
	if x.shift == 0 {
		shift = 100000
	}
	testct.Rootfs(t, n.path(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol", c.id)), shift)
	l := &keyLab{testCT: c, lines: x.lines}
	if x.prepare != nil {
		x.prepare(t, l)
	}
	have := func(key string) bool {
		return slices.ContainsFunc(l.lines, func(line string) bool { return strings.HasPrefix(line, key+": ") })
	}
	for key, value := range map[string]string{
		"arch": "amd64", "hostname": "keys", "memory": "64", "swap": "0", "ostype": "alpine",
		"rootfs": "local:ID/subvol-ID-disk-0.subvol,size=0T",
	} {
		if !have(key) {
			l.lines = append(l.lines, key+": "+value)
		}
	}
	if x.shift == 0 {
		l.lines = append(l.lines, "unprivileged: 1")
	}
	l.configure(l.lines...)
	return l
}

// configure writes the configuration.
func (l *keyLab) configure(lines ...string) {
	l.t.Helper()
	l.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, l.id), l.fill(strings.Join(lines, "\n")+"\n"))
}

// fill puts what they are in the place of ID, ROOT, BRIDGE and NET.
func (l *keyLab) fill(text string) string {
	return strings.NewReplacer("ID", strconv.Itoa(l.id), "ROOT", l.root, "BRIDGE", l.bridge, "NET", l.network).Replace(text)
}

// file writes a file into the root of the container before it starts, with the owner of its
// other files.
func (l *keyLab) file(name, text string) {
	l.t.Helper()
	top := fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol", l.id)
	st, err := os.Stat(filepath.Dir(l.path(top + "/bin/busybox")))
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(top+name, text)
	for at := name; at != "/"; at = filepath.Dir(at) {
		chownLike(l.t, l.path(top+at), st)
	}
}

// insides runs the lines of shell of all proofs in one go, and returns what each has printed.
func (l *keyLab) insides(x keyCT) map[int]string {
	l.t.Helper()
	ready := x.ready
	if ready == "" {
		ready = "for i in $(seq 600); do [ -s /www/index.html ] && break; sleep 0.1; done"
	}
	script := ready + "\n"
	for i, p := range x.proofs {
		if p.inside != "" {
			script += fmt.Sprintf("echo; echo @@%d\n( %s\n) 2>&1 </dev/null\n", i, p.inside)
		}
	}
	printed := map[int]string{}
	if x.off || !strings.Contains(script, "@@") {
		return printed
	}
	out := l.sh(script)
	for part := range strings.SplitSeq(out, "\n@@") {
		number, text, _ := strings.Cut(part, "\n")
		if i, err := strconv.Atoi(number); err == nil {
			printed[i] = strings.TrimRight(text, "\n")
		}
	}
	return printed
}

// made is what LXC was told.
func (l *keyLab) made() string {
	l.t.Helper()
	text, err := os.ReadFile(l.path(fmt.Sprintf("var/lib/lxc/%d/config", l.id)))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// What follows makes the show of a proof.

// lxc says which lines LXC was told.
func lxcLines(lines ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		made := "\n" + l.made()
		for _, line := range lines {
			if !strings.Contains(made, "\n"+l.fill(line)+"\n") {
				t.Errorf("LXC is not told %q", l.fill(line))
			}
		}
		if t.Failed() {
			t.Log("it is told:" + made)
		}
	}
}

// stored says which lines the configuration has, in its file and in pct config.
func stored(lines ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		file, printed := l.config(l.id), l.run("config")
		for _, line := range lines {
			line = l.fill(line)
			if !strings.Contains("\n"+file, "\n"+line+"\n") || !strings.Contains("\n"+printed, "\n"+line+"\n") {
				t.Errorf("no %q in\n%s\nor in what config prints\n%s", line, file, printed)
			}
		}
	}
}

// refused says what is said when a container with more, or other, lines is to start.
func refused(want string, lines ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		l.with(t, lines, func() { l.fails(want, "start") })
	}
}

// line says what LXC is told of a container with more, or other, lines, which is off. It does
// not come up: its last mount point is nowhere, if LXC takes its lines at all.
func line(lines []string, want ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		l.with(t, append(slices.Clone(lines), "mp255: /no/such/folder,mp=/none"), func() {
			l.fails("mp255: |Unsupported (config key|personality)", "start")
			lxcLines(want...)(t, l)
		})
	}
}

// with does something with other lines in the configuration.
func (l *keyLab) with(t *testing.T, lines []string, do func()) {
	t.Helper()
	before := l.config(l.id)
	all := slices.Clone(l.lines)
	for _, line := range lines {
		key, _, _ := strings.Cut(line, ": ")
		if !strings.HasPrefix(key, "lxc.") {
			all = slices.DeleteFunc(all, func(old string) bool { return strings.HasPrefix(old, key+": ") })
		}
	}
	l.configure(append(all, lines...)...)
	do()
	l.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, l.id), before)
}

// shows does one after the other.
func shows(all ...func(*testing.T, *keyLab)) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		for _, show := range all {
			show(t, l)
		}
	}
}

// init is a process of the container as the host numbers it: the first one.
func (l *keyLab) initPid() int {
	l.t.Helper()
	pid := l.monitor()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	first, _, _ := strings.Cut(strings.TrimSpace(string(children)), " ")
	init, failed := strconv.Atoi(first)
	if err != nil || failed != nil {
		l.t.Fatalf("init below %d: %v, %v", pid, err, failed)
	}
	return init
}

// await waits until a file has text that matches.
func await(t *testing.T, path, pattern string) {
	t.Helper()
	var text []byte
	for range 400 {
		if text, _ = os.ReadFile(path); regexp.MustCompile(pattern).Match(text) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: %q, want %s", path, text, pattern)
}

func fits(t *testing.T, what, pattern, text string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("%s: no %s in: %s", what, pattern, text)
	}
}

// Every key of the specification has a proof.
func TestKeysComplete(t *testing.T) {
	spec := specKeys(t)
	proven := map[string]bool{}
	prove := func(keys string) {
		for key := range strings.FieldsSeq(keys) {
			if !spec[key] {
				t.Errorf("%s is no key of the specification", key)
			}
			proven[key] = true
		}
	}
	for _, x := range keyCTs() {
		for _, p := range x.proofs {
			prove(p.keys)
		}
	}
	for keys := range elsewhere() {
		prove(keys)
	}
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		if !proven[name] {
			t.Errorf("%s: nothing shows what it does", name)
		}
	}
}

// elsewhere are the tests that show what the other keys do.
func elsewhere() map[string]func(*testing.T) {
	return map[string]func(*testing.T){"cmode": TestConsole}
}

// specKeys are the keys of the specification, with those of their property strings, and the
// lines for LXC, of which those with an open end are named with a star.
func specKeys(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(conformance.Spec(t, "ct-config.json"))
	if err != nil {
		t.Skip("the interface specification is not on this machine")
	}
	var spec struct {
		Keys map[string]struct {
			Format     json.RawMessage
			Properties map[string]any `json:"format_properties"`
		}
		Raw struct {
			Valid, Refused, Prefixes []string
			Deprecated               []string `json:"deprecated_prefixes"`
			Renamed                  map[string]string
		} `json:"raw_lxc_keys"`
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for name, s := range spec.Keys {
		keys[name] = true
		if s.Properties == nil {
			_ = json.Unmarshal(s.Format, &s.Properties) // else the format has a name, and no properties
		}
		for sub := range s.Properties {
			keys[name+"."+sub] = true
		}
	}
	for _, key := range slices.Concat(spec.Raw.Valid, spec.Raw.Refused, slices.Collect(maps.Keys(spec.Raw.Renamed))) {
		keys[key] = true
	}
	for _, prefix := range slices.Concat(spec.Raw.Prefixes, spec.Raw.Deprecated) {
		keys[prefix+"*"] = true
	}
	return keys
}

// chownLike gives a file the owner of another one.
func chownLike(t *testing.T, path string, st os.FileInfo) {
	t.Helper()
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner")
	}
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
}
