package zfs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/zfs"
)

// A player is a server that has recorded answers: each line of a shell with what it
// prints. What is written to a file there is read again. It notes what changes something.
type player struct {
	mu    sync.Mutex
	files map[string]string
	says  map[string]run.Exchange // by line
	notes []string
}

func (p *player) Run(_ context.Context, c run.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := c.Args[len(c.Args)-1]
	words, err := run.Split(line)
	if err != nil {
		return err
	}
	if !c.ReadOnly {
		p.notes = append(p.notes, line)
	}
	if answer, ok := p.says[line]; ok {
		fmt.Fprint(c.Stdout, answer.Stdout)
		if answer.Exit != 0 {
			return &run.Error{Cmd: c, ExitCode: answer.Exit, Stderr: answer.Stderr}
		}
		return nil
	}
	switch {
	case words[0] == "cat":
		text, ok := p.files[words[1]]
		if !ok {
			return &run.Error{Cmd: c, ExitCode: 1, Stderr: "cat: " + words[1] + ": No such file or directory\n"}
		}
		fmt.Fprint(c.Stdout, text)
	case words[0] == "/bin/sh" && strings.HasPrefix(words[2], "cp -p"):
		var text strings.Builder
		buf := make([]byte, 1<<16)
		for {
			n, err := c.Stdin.Read(buf)
			text.Write(buf[:n])
			if err != nil {
				break
			}
		}
		p.files[words[4]] = text.String()
		p.notes[len(p.notes)-1] = "write " + words[4]
	case words[0] == "zfs" && words[1] == "list":
		fmt.Fprint(c.Stdout, "tank\t-\t-\tfilesystem\t0\n")
	}
	return nil
}

func (p *player) serve(t *testing.T, options ...string) *storage.Service {
	t.Helper()
	cfg := "zfs: nas\n\tportal 192.0.2.5\n\ttarget iqn.2003-01.org.example:tank\n\tpool tank\n\tblocksize 8k\n"
	for _, o := range options {
		cfg += "\t" + o + "\n"
	}
	root := t.TempDir()
	return storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: p, Types: []storage.Type{zfs.TypeWith("/usr/bin/ssh", "22", time.Minute, time.Minute)},
		Config:  func(context.Context) (string, error) { return cfg, nil },
		Secrets: storage.SecretDir("/etc/pve/priv"),
	})
}

const disk = "vm-100-disk-0"

func TestComstar(t *testing.T) {
	units := "\nFound 1 LU(s)\n\n              GUID                    DATA SIZE           SOURCE\n" +
		"--------------------------------  -------------------  ----------------\n%s  4194304              /dev/zvol/rdsk/tank/vm-100-disk-0\n"
	guid, created := "", false
	p := &player{says: map[string]run.Exchange{}}
	s := p.serve(t, "iscsiprovider comstar", "comstar_hg hosts", "comstar_tg targets", "nowritecache 1")
	pool, err := s.Pool(t.Context(), "nas")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Alloc(t.Context(), storage.Alloc{Guest: 100, Format: "raw", Size: 4096}); err != nil {
		t.Fatal(err)
	}
	for _, note := range p.notes {
		if rest, ok := strings.CutPrefix(note, "/usr/sbin/stmfadm create-lu -p 'wcd=true' -p 'guid="); ok {
			guid, _, created = strings.Cut(rest, "'")
		}
	}
	if !created || len(guid) != 32 || !strings.HasPrefix(guid, "600144f") {
		t.Fatalf("no logical unit was made: %q", p.notes)
	}
	p.says["/usr/sbin/sbdadm list-lu"] = run.Exchange{Stdout: fmt.Sprintf(units, guid)}
	p.says["/usr/sbin/stmfadm list-view -l "+guid] = run.Exchange{Stdout: "View Entry: 0\n    Host group   : hosts\n    Target group : targets\n    LUN          : 3\n"}
	v := id.Volume{Storage: "nas", Name: disk}
	address, err := s.Path(t.Context(), v, "")
	if err != nil || address != "iscsi://192.0.2.5/iqn.2003-01.org.example:tank/3" {
		t.Errorf("address %s, %v", address, err)
	}
	attached, err := s.Blockdev(t.Context(), v)
	if diff := cmp.Diff(map[string]any{"driver": "iscsi", "transport": "tcp", "portal": "192.0.2.5", "target": "iqn.2003-01.org.example:tank", "lun": 3}, attached); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, err := range []error{
		pool.(storage.Resizer).Resize(t.Context(), disk, 8<<20, false),
		pool.(storage.Snapshotter).Snapshot(t.Context(), disk, "one"),
		pool.Free(t.Context(), disk),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"zfs create -b 8k -V 4096k tank/vm-100-disk-0",
		"/usr/sbin/stmfadm create-lu -p 'wcd=true' -p 'guid=" + guid + "' /dev/zvol/rdsk/tank/vm-100-disk-0",
		"/usr/sbin/stmfadm add-view --host-group hosts --target-group targets " + guid,
		"zfs set 'volsize=8192k' tank/vm-100-disk-0",
		"/usr/sbin/stmfadm modify-lu -s 8192K " + guid,
		"zfs snapshot tank/vm-100-disk-0@one",
		"/usr/sbin/stmfadm delete-lu " + guid,
		"zfs destroy -r tank/vm-100-disk-0",
	}
	if diff := cmp.Diff(want, p.notes); diff != "" {
		t.Error(diff)
	}
}

// TestComstarRollback: what a unit was is kept with its disk, and imported from there.
func TestComstarRollback(t *testing.T) {
	p := &comstarPlayer{player: player{says: map[string]run.Exchange{}}, guid: "600144f00000000000000000000000aa", there: true}
	p.on = p
	pool, err := p.serve(t).Pool(t.Context(), "nas")
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.(storage.Snapshotter).Rollback(t.Context(), disk, "one"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/usr/sbin/stmfadm delete-lu " + p.guid,
		"zfs rollback tank/vm-100-disk-0@one",
		"/usr/sbin/stmfadm import-lu /dev/zvol/rdsk/tank/vm-100-disk-0",
		"/usr/sbin/stmfadm add-view " + p.guid,
	}
	if diff := cmp.Diff(want, p.notes); diff != "" {
		t.Error(diff)
	}
}

// A comstarPlayer has one logical unit, which comes and goes.
type comstarPlayer struct {
	player
	on    run.Runner
	guid  string
	there bool
}

func (p *comstarPlayer) serve(t *testing.T) *storage.Service {
	return storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: p, Types: []storage.Type{zfs.Type()},
		Config: func(context.Context) (string, error) {
			return "zfs: nas\n\tportal 192.0.2.5\n\ttarget iqn.2003-01.org.example:tank\n\tpool tank\n\tblocksize 8k\n\tiscsiprovider comstar\n", nil
		},
	})
}

func (p *comstarPlayer) Run(ctx context.Context, c run.Cmd) error {
	line := c.Args[len(c.Args)-1]
	switch {
	case strings.Contains(line, "delete-lu"):
		p.there = false
	case strings.Contains(line, "import-lu"):
		p.there = true
	case strings.Contains(line, "list-lu") && p.there:
		fmt.Fprintf(c.Stdout, "%s  4194304  /dev/zvol/rdsk/tank/vm-100-disk-0\n", p.guid)
		return nil
	case strings.Contains(line, "list-view"):
		return &run.Error{Cmd: c, ExitCode: 1, Stderr: "stmfadm: " + p.guid + ": no views found\n"}
	}
	return p.player.Run(ctx, c)
}

const istgtText = `# the server
[Global]
  NodeBase "iqn.2003-01.org.example"
  PidFile "/var/run/istgt.pid"

[PortalGroup1]
  Portal DA1 0.0.0.0:3260

[LogicalUnit1]
  TargetName "other"
  LUN0 Storage /dev/zvol/other/x AUTO

[LogicalUnit2]
  TargetName "tank"
  Mapping PortalGroup1 InitiatorGroup1
  # disks
  LUN0 Storage /dev/zvol/tank/keep 10GB
  LUN2 Storage /dev/zvol/tank/vm-9-disk-0 AUTO
`

func TestIstgt(t *testing.T) {
	const path = "/var/etc/iscsi/istgt.conf"
	p := &player{files: map[string]string{path: istgtText}}
	s := p.serve(t, "iscsiprovider istgt", "nowritecache 1")
	pool, err := s.Pool(t.Context(), "nas")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Alloc(t.Context(), storage.Alloc{Guest: 100, Format: "raw", Size: 4096}); err != nil {
		t.Fatal(err)
	}
	added := istgtText + "  LUN1 Storage /dev/zvol/tank/vm-100-disk-0 AUTO\n  LUN1 Option WriteCache Disable\n"
	if diff := cmp.Diff(added, p.files[path]); diff != "" {
		t.Error(diff)
	}
	address, err := s.Path(t.Context(), id.Volume{Storage: "nas", Name: disk}, "")
	if err != nil || address != "iscsi://192.0.2.5/iqn.2003-01.org.example:tank/1" {
		t.Errorf("address %s, %v", address, err)
	}
	if err := pool.(storage.Resizer).Resize(t.Context(), disk, 8<<20, false); err != nil {
		t.Error(err)
	}
	if err := pool.Free(t.Context(), disk); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(istgtText, p.files[path]); diff != "" {
		t.Error(diff)
	}
	restart := `/bin/sh -c 'exec "$1" onerestart >/dev/null 2>&1' sh /var/etc/rc.d/istgt`
	want := []string{
		"zfs create -b 8k -V 4096k tank/vm-100-disk-0",
		"write " + path,
		`/bin/sh -c 'kill -HUP "$(cat "$1")"' sh /var/run/istgt.pid`,
		"zfs set 'volsize=8192k' tank/vm-100-disk-0",
		restart,
		"write " + path,
		restart,
		"zfs destroy -r tank/vm-100-disk-0",
	}
	if diff := cmp.Diff(want, p.notes); diff != "" {
		t.Error(diff)
	}
}

// TestIstgtDown: an istgt that does not take its configuration has it back as it was, and the
// disk is gone again.
func TestIstgtDown(t *testing.T) {
	const path = "/usr/local/etc/istgt/istgt.conf"
	p := &player{files: map[string]string{path: istgtText}, says: map[string]run.Exchange{
		`/bin/sh -c 'kill -HUP "$(cat "$1")"' sh /var/run/istgt.pid`: {Exit: 1, Stderr: "kill: No such process\n"},
	}}
	pool, err := p.serve(t, "iscsiprovider istgt").Pool(t.Context(), "nas")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Alloc(t.Context(), storage.Alloc{Guest: 100, Format: "raw", Size: 4096}); err == nil || err.Error() != "kill: No such process" {
		t.Errorf("alloc: %v", err)
	}
	if diff := cmp.Diff(istgtText, p.files[path]); diff != "" {
		t.Error(diff)
	}
	if last := p.notes[len(p.notes)-1]; last != "zfs destroy -r tank/vm-100-disk-0" {
		t.Errorf("at last: %s", last)
	}
}

const ietText = `Target iqn.2003-01.org.example:other
	Lun 0 Path=/dev/other/x,Type=fileio

Target iqn.2003-01.org.example:tank
	Alias			tank
	# disks
	Lun 0 Path=/dev/tank/keep,Type=blockio

Target iqn.2003-01.org.example:last
	Alias last
`

func TestIET(t *testing.T) {
	const path = "/etc/iet/ietd.conf"
	p := &player{files: map[string]string{path: ietText, "/proc/net/iet/volume": "tid:7 name:iqn.2003-01.org.example:other\n" +
		"\tlun:0 state:0 iotype:fileio path:/dev/other/x\ntid:9 name:iqn.2003-01.org.example:tank\n"}}
	s := p.serve(t, "iscsiprovider iet")
	pool, err := s.Pool(t.Context(), "nas")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Alloc(t.Context(), storage.Alloc{Guest: 100, Format: "raw", Size: 4096}); err != nil {
		t.Fatal(err)
	}
	added := strings.Replace(ietText, "/dev/tank/keep,Type=blockio\n", "/dev/tank/keep,Type=blockio\n\tLun 1 Path=/dev/tank/vm-100-disk-0,Type=blockio\n", 1)
	if diff := cmp.Diff(added, p.files[path]); diff != "" {
		t.Error(diff)
	}
	address, err := s.Path(t.Context(), id.Volume{Storage: "nas", Name: disk}, "")
	if err != nil || address != "iscsi://192.0.2.5/iqn.2003-01.org.example:tank/1" {
		t.Errorf("address %s, %v", address, err)
	}
	if err := pool.(storage.Resizer).Resize(t.Context(), disk, 8<<20, false); err != nil {
		t.Error(err)
	}
	if err := pool.Free(t.Context(), disk); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(ietText, p.files[path]); diff != "" {
		t.Error(diff)
	}
	lun := "'--tid=9' '--lun=1'"
	give := "/usr/sbin/ietadm --op new " + lun + " --params 'Path=/dev/tank/vm-100-disk-0,Type=blockio'"
	take := "/usr/sbin/ietadm --op delete " + lun
	want := []string{
		"zfs create -b 8k -V 4096k tank/vm-100-disk-0", "write " + path, give,
		"zfs set 'volsize=8192k' tank/vm-100-disk-0", take, give,
		take, "write " + path, "zfs destroy -r tank/vm-100-disk-0",
	}
	if diff := cmp.Diff(want, p.notes); diff != "" {
		t.Error(diff)
	}
}

// TestErrors: what is wrong is said in upstream's words.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []string
		files   map[string]string
		want    string
	}{
		{"provider", []string{"iscsiprovider bogus"}, nil, "bogus: unknown iscsi provider. Available [comstar, istgt, iet, LIO]"},
		{"no portal group", []string{"iscsiprovider LIO"}, nil, "Target Portal Group not set, aborting!"},
		{"bad portal group", []string{"iscsiprovider LIO", "lio_tpg 1"}, map[string]string{"/etc/target/saveconfig.json": "{}"}, "Target Portal Group has invalid value, must contain string 'tpg' and a suffix number, eg 'tpg17'"},
		{"no such portal group", []string{"iscsiprovider LIO", "lio_tpg tpg2"}, map[string]string{"/etc/target/saveconfig.json": "{}"}, "target portal group tpg2 not found!"},
		{"no targetcli", []string{"iscsiprovider LIO", "lio_tpg tpg1"}, nil, "No configuration found. Install targetcli on 192.0.2.5"},
		{"no istgt", []string{"iscsiprovider istgt"}, nil, "No configuration found. Install istgt on 192.0.2.5"},
		{"no such target of istgt", []string{"iscsiprovider istgt"}, map[string]string{"/usr/local/etc/istgt/istgt.conf": "[LogicalUnit1]\n"}, "iqn.2003-01.org.example:tank: Target not found"},
		{"no iet", []string{"iscsiprovider iet"}, nil, "No configuration found. Install iet on 192.0.2.5"},
		{"no LUN", []string{"iscsiprovider comstar"}, nil, "Could not find lu_name for zvol vm-100-disk-0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := (&player{files: c.files}).serve(t, c.options...).Path(t.Context(), id.Volume{Storage: "nas", Name: disk}, "")
			if err == nil || err.Error() != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// TestCommandLine: how the server is reached, and that nothing in a name is a command there.
func TestCommandLine(t *testing.T) {
	fake := run.NewFake(run.Exchange{
		Args:   []string{"/usr/bin/ssh", "-o", "BatchMode=yes", "-i", "/etc/pve/priv/zfs/192.0.2.5_id_rsa", "root@192.0.2.5", "zfs get -o value -Hp volsize,usedbydataset,origin tank/vm-100-disk-0"},
		Stdout: "4194304\n8192\n-\n",
	})
	s := storage.New(storage.Options{
		Root: t.TempDir(), Runner: fake, Types: []storage.Type{zfs.Type()}, Secrets: storage.SecretDir("/etc/pve/priv"),
		Config: func(context.Context) (string, error) {
			return "zfs: nas\n\tportal 192.0.2.5\n\ttarget iqn.2003-01.org.example:tank\n\tpool tank\n\tblocksize 8k\n\tiscsiprovider LIO\n", nil
		},
	})
	info, err := s.Info(t.Context(), id.Volume{Storage: "nas", Name: disk})
	if diff := cmp.Diff(storage.Info{Size: 4 << 20, Used: 8192, Format: "raw"}, info); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, name := range []string{"vm-100-disk-0;reboot", "vm-100-$(reboot)", "vm-100-disk-0@x", "vm-100-a/b", "vm-100-a b", "subvol-100-disk-0"} {
		if _, err := s.Info(t.Context(), id.Volume{Storage: "nas", Name: name}); err == nil || !strings.HasPrefix(err.Error(), "unable to parse zfs volume name") {
			t.Errorf("%s: %v", name, err)
		}
	}
	pool, err := s.Pool(t.Context(), "nas")
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.(storage.Snapshotter).Snapshot(t.Context(), disk, "x; reboot"); err == nil {
		t.Error("a snapshot was called as a command")
	}
	if left := fake.Left(); len(left) > 0 || len(fake.Calls()) != 1 {
		t.Errorf("asked %v", fake.Calls())
	}
}

// TestUnreachable: ssh's own failures name the server.
func TestUnreachable(t *testing.T) {
	fake := run.NewFake(run.Exchange{
		Args:   []string{"/usr/bin/ssh", "-o", "BatchMode=yes", "-i", "/etc/pve/priv/zfs/nas.example.org:3261_id_rsa", "root@nas.example.org", "zfs get -o value -Hp volsize,usedbydataset,origin tank/vm-100-disk-0"},
		Stderr: "root@nas.example.org: Permission denied (publickey).\n", Exit: 255,
	})
	s := storage.New(storage.Options{
		Root: t.TempDir(), Runner: fake, Types: []storage.Type{zfs.Type()}, Secrets: storage.SecretDir("/etc/pve/priv"),
		Config: func(context.Context) (string, error) {
			return "zfs: nas\n\tportal nas.example.org:3261\n\ttarget iqn.2003-01.org.example:tank\n\tpool tank\n\tblocksize 8k\n\tiscsiprovider LIO\n", nil
		},
	})
	_, err := s.Info(t.Context(), id.Volume{Storage: "nas", Name: disk})
	want := "server nas.example.org: ssh: exit status 255: root@nas.example.org: Permission denied (publickey)."
	if err == nil || err.Error() != want || errors.Is(err, storage.ErrNotExist) {
		t.Errorf("%v, want %s", err, want)
	}
	if !slices.ContainsFunc(fake.Calls(), func(c run.Cmd) bool { return c.ReadOnly }) {
		t.Error("looking is not marked as that")
	}
}
