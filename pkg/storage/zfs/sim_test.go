package zfs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testiscsi"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
	"github.com/virtsmith/virtsmith/pkg/storage/zfs"
)

// A nas stands for a server with ZFS and LIO, where there is neither: it has the words of
// their programs, keeps disks in files, and gives them out by tgtd. The test itself is
// the program that is run instead of ssh.
type nas struct {
	Dir     string
	Control string                    // of tgtd
	Targets map[string]string         // name to id
	Sets    map[string]*set           // datasets by name
	LUNs    map[string]map[int]string // by target, the storage objects
	Objects map[string]string         // storage object to device
	Limits  map[string]int64          // of pools, in bytes
	Clock   int64
}

// A set is a dataset.
type set struct {
	File   string
	Size   int64
	Origin string
	Snaps  []snap
}

type snap struct {
	Name, File string
	GUID       int64
	Size       int64
}

// asNAS is the variable that makes the test the program, with the folder of the server.
const asNAS = "VIRTSMITH_TEST_NAS"

func TestMain(m *testing.M) {
	dir := os.Getenv(asNAS)
	if dir == "" {
		os.Exit(m.Run())
	}
	os.Exit(serveNAS(dir, os.Args[len(os.Args)-1]))
}

// serveNAS does what one line of a shell says.
func serveNAS(dir, line string) int {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return 255
	}
	raw, err := os.ReadFile(filepath.Join(dir, "state"))
	if err != nil {
		return 255
	}
	var n nas
	words, err := run.Split(line)
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err == nil {
		err = n.do(words)
	}
	if raw, e := json.Marshal(&n); e == nil {
		_ = os.WriteFile(filepath.Join(dir, "state"), raw, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (n *nas) do(words []string) error {
	switch {
	case words[0] == "zfs":
		return n.zfs(words[1:])
	case words[0] == "/usr/bin/targetcli":
		return n.targetcli(os.Stdin)
	case words[0] == "cat" && strings.HasPrefix(words[1], "/etc/rtslib-fb-target/"):
		return n.save(os.Stdout)
	case words[0] == "/bin/sh" && strings.Contains(words[2], "test -e"):
		if n.Sets[strings.TrimPrefix(words[4], "/dev/")] == nil {
			return fmt.Errorf("no device")
		}
		return nil
	}
	return fmt.Errorf("%s: command not found", words[0])
}

func (n *nas) need(name string) (*set, error) {
	if s := n.Sets[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("cannot open '%s': dataset does not exist", name)
}

func (n *nas) zfs(words []string) error {
	last := words[len(words)-1]
	switch words[0] {
	case "list":
		return n.list(words, last)
	case "get":
		return n.get(words[slices.Index(words, "-Hp")+1], last)
	case "create":
		size, _ := strconv.ParseInt(strings.TrimSuffix(words[slices.Index(words, "-V")+1], "k"), 10, 64)
		return n.create(last, size<<10)
	case "destroy":
		return n.destroy(last)
	case "snapshot":
		name, label, _ := strings.Cut(last, "@")
		s, err := n.need(name)
		if err != nil {
			return err
		}
		n.Clock++
		file := fmt.Sprintf("%s/snap%d", n.Dir, n.Clock)
		s.Snaps = append(s.Snaps, snap{Name: label, File: file, GUID: n.Clock, Size: s.Size})
		return copyFile(s.File, file)
	case "rollback":
		return n.rollback(last)
	case "rename":
		from, to := words[1], words[2]
		s, err := n.need(from)
		if err != nil {
			return err
		}
		if n.Sets[to] != nil {
			return fmt.Errorf("cannot rename '%s': dataset already exists", from)
		}
		delete(n.Sets, from)
		n.Sets[to] = s
		for _, other := range n.Sets {
			if rest, ok := strings.CutPrefix(other.Origin, from+"@"); ok {
				other.Origin = to + "@" + rest
			}
		}
		return nil
	case "clone":
		name, label, _ := strings.Cut(words[1], "@")
		s, err := n.need(name)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Snaps, func(s snap) bool { return s.Name == label })
		if i < 0 {
			return fmt.Errorf("cannot open '%s': dataset does not exist", words[1])
		}
		if err := n.create(last, s.Snaps[i].Size); err != nil {
			return err
		}
		n.Sets[last].Origin = words[1]
		return copyFile(s.Snaps[i].File, n.Sets[last].File)
	case "set":
		s, err := n.need(last)
		if err != nil {
			return err
		}
		size, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(words[1], "volsize="), "k"), 10, 64)
		s.Size = size << 10
		return os.Truncate(s.File, s.Size)
	}
	return fmt.Errorf("unrecognized command '%s'", words[0])
}

func (n *nas) list(words []string, last string) error {
	switch {
	case slices.Contains(words, "name,volsize,origin,type,refquota"):
		fmt.Printf("%s\t-\t-\tfilesystem\t0\n", last)
		for _, name := range slices.Sorted(maps.Keys(n.Sets)) {
			if s := n.Sets[name]; filepath.Dir(name) == last {
				origin := s.Origin
				if origin == "" {
					origin = "-"
				}
				fmt.Printf("%s\t%d\t%s\tvolume\t-\n", name, s.Size, origin)
			}
		}
		return nil
	case slices.Contains(words, "clones"):
		if _, err := n.need(last); err != nil {
			return err
		}
		for name, s := range n.Sets {
			if strings.HasPrefix(s.Origin, last+"@") {
				fmt.Println(name)
			}
		}
		return nil
	}
	s, err := n.need(last)
	if err != nil {
		return err
	}
	for _, snap := range s.Snaps {
		fmt.Printf("%s@%s\t%d\t%d\n", last, snap.Name, snap.GUID, 1700000000+snap.GUID)
	}
	return nil
}

func (n *nas) get(properties, name string) error {
	if limit, ok := n.Limits[name]; ok {
		fmt.Printf("%d\n%d\n", limit/2, limit/2)
		return nil
	}
	s, err := n.need(name)
	if err != nil {
		return err
	}
	for property := range strings.SplitSeq(properties, ",") {
		switch property {
		case "volsize":
			fmt.Println(s.Size)
		case "usedbydataset":
			fmt.Println(4096)
		case "origin":
			if s.Origin == "" {
				fmt.Println("-")
			} else {
				fmt.Println(s.Origin)
			}
		default:
			return fmt.Errorf("bad property list: invalid property '%s'", property)
		}
	}
	return nil
}

func (n *nas) create(name string, size int64) error {
	if n.Sets[name] != nil {
		return fmt.Errorf("cannot create '%s': dataset already exists", name)
	}
	if size > n.Limits[filepath.Dir(name)] {
		return fmt.Errorf("cannot create '%s': out of space", name)
	}
	n.Clock++
	file := fmt.Sprintf("%s/disk%d", n.Dir, n.Clock)
	n.Sets[name] = &set{File: file, Size: size}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(file, size)
}

func (n *nas) destroy(name string) error {
	name, label, isSnap := strings.Cut(name, "@")
	s, err := n.need(name)
	if err != nil {
		return err
	}
	if isSnap {
		i := slices.IndexFunc(s.Snaps, func(s snap) bool { return s.Name == label })
		if i < 0 {
			return fmt.Errorf("could not find any snapshots to destroy; check snapshot names.")
		}
		s.Snaps = slices.Delete(s.Snaps, i, i+1)
		return nil
	}
	for _, device := range n.Objects {
		if device == "/dev/"+name {
			return fmt.Errorf("cannot destroy '%s': dataset is busy", name)
		}
	}
	for clone, other := range n.Sets {
		if strings.HasPrefix(other.Origin, name+"@") {
			return fmt.Errorf("cannot destroy '%s': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\n%s", name, clone)
		}
	}
	delete(n.Sets, name)
	return os.Remove(s.File)
}

func (n *nas) rollback(what string) error {
	name, label, _ := strings.Cut(what, "@")
	s, err := n.need(name)
	if err != nil {
		return err
	}
	switch i := slices.IndexFunc(s.Snaps, func(s snap) bool { return s.Name == label }); {
	case i < 0:
		return fmt.Errorf("cannot open '%s': dataset does not exist", what)
	case i < len(s.Snaps)-1:
		return fmt.Errorf("cannot rollback to '%s': more recent snapshots or bookmarks exist", what)
	default:
		for _, device := range n.Objects {
			if device == "/dev/"+name {
				return fmt.Errorf("cannot rollback '%s': dataset is busy", name)
			}
		}
		s.Size = s.Snaps[i].Size
		return copyFile(s.Snaps[i].File, s.File)
	}
}

// copyFile keeps holes, and the file that is open.
func copyFile(from, to string) error {
	out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

var (
	createObject = regexp.MustCompile(`^/backstores/block create name=(\S+) dev=(\S+)$`)
	setAttribute = regexp.MustCompile(`^/backstores/block/(\S+) set attribute emulate_tpu=1$`)
	createLUN    = regexp.MustCompile(`^/iscsi/(\S+)/tpg1/luns create /backstores/block/(\S+)$`)
	deleteLUN    = regexp.MustCompile(`^/iscsi/(\S+)/tpg1/luns delete lun(\d+)$`)
	deleteObject = regexp.MustCompile(`^/backstores/block delete (\S+)$`)
)

// targetcli works on lines, and goes on after those that fail.
func (n *nas) targetcli(r io.Reader) error {
	fmt.Print("targetcli shell version 2.1.53\nCopyright 2011-2013 by Datera, Inc and others.\nFor help on commands, type 'help'.\n\n")
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if err := n.targetLine(lines.Text()); err != nil {
			fmt.Printf("/> %v\n", err)
		}
	}
	return nil
}

func (n *nas) targetLine(line string) error {
	if m := createObject.FindStringSubmatch(line); m != nil {
		if n.Objects[m[1]] != "" {
			return fmt.Errorf("Storage object block/%s exists", m[1])
		}
		n.Objects[m[1]] = m[2]
		return nil
	}
	if m := setAttribute.FindStringSubmatch(line); m != nil {
		if n.Objects[m[1]] == "" {
			return fmt.Errorf("No such path %s", m[1])
		}
		return nil
	}
	if m := createLUN.FindStringSubmatch(line); m != nil {
		s := n.Sets[strings.TrimPrefix(n.Objects[m[2]], "/dev/")]
		if s == nil {
			return fmt.Errorf("No such object %s", m[2])
		}
		number := 1 // tgtd keeps 0 for itself
		for n.LUNs[m[1]][number] != "" {
			number++
		}
		if n.LUNs[m[1]] == nil {
			n.LUNs[m[1]] = map[int]string{}
		}
		n.LUNs[m[1]][number] = m[2]
		return n.tgt("new", m[1], number, "-b", s.File)
	}
	if m := deleteLUN.FindStringSubmatch(line); m != nil {
		number, _ := strconv.Atoi(m[2])
		delete(n.LUNs[m[1]], number)
		return n.tgt("delete", m[1], number)
	}
	if m := deleteObject.FindStringSubmatch(line); m != nil {
		delete(n.Objects, m[1])
		return nil
	}
	if line == "saveconfig" || line == "exit" {
		return nil
	}
	return fmt.Errorf("Command not found %s", line)
}

func (n *nas) tgt(op, target string, lun int, more ...string) error {
	args := append([]string{"-C", n.Control, "--lld", "iscsi", "--op", op, "--mode", "logicalunit", "--tid", n.Targets[target], "--lun", strconv.Itoa(lun)}, more...)
	if out, err := exec.Command("tgtadm", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("tgtadm %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// save prints the configuration as targetcli saves it.
func (n *nas) save(w io.Writer) error {
	var objects, targets []any
	for name, device := range n.Objects {
		objects = append(objects, map[string]any{"name": name, "plugin": "block", "dev": device})
	}
	for name := range n.Targets {
		luns := []any{}
		for number, object := range n.LUNs[name] {
			luns = append(luns, map[string]any{"index": number, "storage_object": "/backstores/block/" + object})
		}
		targets = append(targets, map[string]any{"fabric": "iscsi", "wwn": name, "tpgs": []any{map[string]any{"tag": 1, "luns": luns}}})
	}
	return json.NewEncoder(w).Encode(map[string]any{"fabric_modules": []any{}, "storage_objects": objects, "targets": targets})
}

// A simulated is a server that is made up, whose iSCSI is not.
type simulated struct {
	*testiscsi.Server
	t    testing.TB
	nas  *nas
	ssh  string // what is run instead of ssh
	port string
}

func newSimulated(t testing.TB) *simulated {
	t.Helper()
	server := testiscsi.New(t)
	_, port, _ := strings.Cut(server.Portal, ":")
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &simulated{Server: server, t: t, ssh: filepath.Join(dir, "ssh"), port: port, nas: &nas{
		Dir: dir, Control: strconv.Itoa(number % (1 << 15)), Targets: map[string]string{}, Sets: map[string]*set{},
		LUNs: map[string]map[int]string{}, Objects: map[string]string{}, Limits: map[string]int64{},
	}}
	if err := os.WriteFile(s.ssh, []byte("#!/bin/sh\n"+asNAS+"='"+dir+"' exec '"+exe+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.change(func(*nas) {})
	return s
}

// change looks at the server, or does to it what nobody was asked for.
func (s *simulated) change(do func(*nas)) {
	s.t.Helper()
	path := filepath.Join(s.nas.Dir, "state")
	raw, err := os.ReadFile(path)
	if err == nil {
		now := &nas{}
		err = json.Unmarshal(raw, now)
		s.nas = now
	}
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	do(s.nas)
	if raw, err = json.Marshal(s.nas); err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// section makes an empty storage on a pool of the given size.
func (s *simulated) section(size int64) (options []string) {
	s.t.Helper()
	target := s.Target()
	s.change(func(n *nas) {
		pool := fmt.Sprintf("tank/t%d", len(n.Targets)+1)
		n.Targets[target.Name] = strconv.Itoa(len(n.Targets) + 1)
		n.Limits[pool] = size
		options = []string{"portal " + s.Portal, "target " + target.Name, "pool " + pool, "blocksize 8k", "iscsiprovider LIO", "lio_tpg tpg1"}
	})
	return options
}

func (s *simulated) storageType() storage.Type {
	return zfs.TypeWith(s.ssh, s.port, time.Minute, time.Minute)
}

// TestContract runs everything against a server that is made up, over iSCSI that is not.
func TestContract(t *testing.T) {
	s := newSimulated(t)
	storagetest.Run(t, storagetest.Options{
		Type: s.storageType(), Slow: true,
		Section: func(*testing.T) []string { return s.section(4 << 30) },
		Small:   func(*testing.T) []string { return s.section(64 << 20) },
	})
}

// TestHalfMade: what a kill leaves can be removed, and made again.
func TestHalfMade(t *testing.T) {
	sim := newSimulated(t)
	cfg := "zfs: nas\n\t" + strings.Join(sim.section(1<<30), "\n\t") + "\n"
	s := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{sim.storageType()},
		Config: func(context.Context) (string, error) { return cfg, nil },
	})
	alloc := func() id.Volume {
		t.Helper()
		v, err := s.Alloc(t.Context(), "nas", storage.Alloc{Guest: 100, Format: "raw", File: disk, Size: 1024})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	lose := func(n *nas, object bool) {
		for target, luns := range n.LUNs {
			for number := range luns {
				if err := n.tgt("delete", target, number); err != nil {
					t.Error(err)
				}
				delete(luns, number)
			}
		}
		if object {
			clear(n.Objects)
		}
	}
	for name, half := range map[string]func(*nas){
		"no LUN":                func(n *nas) { lose(n, false) },
		"nothing but a dataset": func(n *nas) { lose(n, true) },
	} {
		t.Run(name, func(t *testing.T) {
			v := alloc()
			sim.change(half)
			if _, err := s.Path(t.Context(), v, ""); err == nil || err.Error() != "Could not find lu_name for zvol "+disk {
				t.Errorf("its address: %v", err)
			}
			if err := s.Free(t.Context(), v); err != nil {
				t.Error(err)
			}
			sim.change(func(n *nas) {
				if len(n.Sets)+len(n.Objects) > 0 {
					t.Errorf("left: %v, %v", n.Sets, n.Objects)
				}
			})
		})
	}
	// A disk that cannot be removed has its LUN again.
	v := alloc()
	sim.change(func(n *nas) { n.Objects["another"] = "/dev/tank/t1/" + disk })
	if err := s.Free(t.Context(), v); err == nil || !strings.Contains(err.Error(), "dataset is busy") {
		t.Errorf("a disk in use: %v", err)
	}
	if _, err := s.Path(t.Context(), v, ""); err != nil {
		t.Errorf("its address: %v", err)
	}
	sim.change(func(n *nas) { delete(n.Objects, "another") })
	if err := s.Free(t.Context(), v); err != nil {
		t.Error(err)
	}
}
