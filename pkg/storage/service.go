package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Options is the world of a [Service].
type Options struct {
	Root   string // put before the paths we own; empty means /
	Node   id.Node
	Runner run.Runner
	Types  []Type
	// Outside finds types that are programs of their own: those with the given names that
	// there are, all of them where none is given. It may be nil.
	Outside func(ctx context.Context, names ...string) []Type
	// Config returns the text of storage.cfg, empty where there is none.
	Config func(ctx context.Context) (string, error)
	// Save writes the text of storage.cfg. Without it, storages cannot be defined.
	Save func(ctx context.Context, text string) error
	// Lock runs fn under a lock that all nodes of the cluster share. Without it, a
	// storage is locked on this node alone.
	Lock func(ctx context.Context, name string, fn func(context.Context) error) error
	// Guests tells of which kind the guests of the cluster are: qemu or lxc. Without it,
	// all are taken for qemu.
	Guests func(ctx context.Context) (map[id.VM]string, error)
	// Zone is the time zone in which backups are named; nil means that of the machine.
	Zone *time.Location
	// QEMUImg is the program; empty means /usr/bin/qemu-img.
	QEMUImg string
	// Secrets keeps what storage.cfg must not show. Without it nothing that needs a secret
	// works.
	Secrets Secrets
	// Probe asks file systems that may hang. Nil means [ProbeHere].
	Probe Probe
	// StatusPatience is how long one storage may take to tell its status; 0 means 10 s.
	StatusPatience time.Duration
}

// A Service finds and uses the storages of the cluster, as seen from one node.
type Service struct {
	o Options

	learning   sync.Mutex
	learned    []Type // from outside
	learnedAll bool

	mu   sync.Mutex
	text *string // what the last configuration was read from
	last *Config

	asking asking
}

// New returns a service. Nothing is read before it is asked for.
func New(o Options) *Service {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.QEMUImg == "" {
		o.QEMUImg = "/usr/bin/qemu-img"
	}
	o.Runner = imageRunner{o.Runner, o.QEMUImg}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	if o.Secrets == nil {
		o.Secrets = noSecrets{}
	}
	if o.Probe == nil {
		o.Probe = ProbeHere
	}
	if o.Guests == nil {
		o.Guests = func(context.Context) (map[id.VM]string, error) { return nil, nil }
	}
	return &Service{o: o}
}

// An imageRunner runs qemu-img without io_uring, of which it has no use: it polls with it. With
// it, the kernel interrupts calls for locks, and the client of Gluster waits forever as soon as
// two such calls meet (gluster/glusterfs issue 4371), and with it whoever uses the volume.
type imageRunner struct {
	run.Runner
	qemuImg string
}

// Run runs a program.
func (r imageRunner) Run(ctx context.Context, c run.Cmd) error {
	c.NoIOURing = c.NoIOURing || c.Path == r.qemuImg
	return r.Runner.Run(ctx, c)
}

// Config reads storage.cfg. The storage local is always there. What cannot be
// read is told to the user once.
func (s *Service) Config(ctx context.Context) (*Config, error) {
	text, err := s.o.Config(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text != nil && *s.text == text {
		return s.last, nil
	}
	c := s.parse(ctx, text)
	for _, w := range c.Warnings {
		tell(ctx, w)
	}
	c.withLocal(s.o.Types, filepath.Join(s.o.Root, "var/lib/vz"))
	s.text, s.last = &text, c
	return c, nil
}

// tell tells the user something that is no failure.
func tell(ctx context.Context, text string) { fmt.Fprintln(api.StreamsOf(ctx).Err, text) }

// Lookup finds a storage, whether it can be used here or not.
func (s *Service) Lookup(ctx context.Context, storeid id.Storage) (Definition, error) {
	c, err := s.Config(ctx)
	if err != nil {
		return Definition{}, err
	}
	d, ok := c.Lookup(storeid)
	if !ok {
		return d, fmt.Errorf("storage '%s' does not exist", storeid)
	}
	return d, nil
}

// Enabled finds a storage that can be used on this node.
func (s *Service) Enabled(ctx context.Context, storeid id.Storage) (Definition, error) {
	return s.EnabledOn(ctx, storeid, s.o.Node)
}

// EnabledOn finds a storage that can be used on the given node.
func (s *Service) EnabledOn(ctx context.Context, storeid id.Storage, node id.Node) (Definition, error) {
	d, err := s.Lookup(ctx, storeid)
	switch {
	case err != nil:
		return d, err
	case d.Disabled:
		return d, fmt.Errorf("storage '%s' is disabled", storeid)
	case !d.On(node):
		return d, fmt.Errorf("storage '%s' is not available on node '%s'", storeid, node)
	}
	return d, nil
}

// CheckContent fails where the storage is not used for a content.
func (s *Service) CheckContent(ctx context.Context, storeid id.Storage, c Content) error {
	d, err := s.Lookup(ctx, storeid)
	if err == nil && !d.Has(c) {
		err = fmt.Errorf("storage '%s' does not support %s", storeid, c.holds())
	}
	return err
}

// Pool opens a storage, whether it can be used here or not: to read the names of
// its volumes.
func (s *Service) Pool(ctx context.Context, storeid id.Storage) (Pool, error) {
	d, err := s.Lookup(ctx, storeid)
	if err != nil {
		return nil, err
	}
	return s.open(d)
}

// use opens a storage that can be used here and makes it ready.
func (s *Service) use(ctx context.Context, storeid id.Storage) (Pool, error) {
	d, err := s.Enabled(ctx, storeid)
	if err != nil {
		return nil, err
	}
	p, err := s.open(d)
	if err != nil {
		return nil, err
	}
	return p, p.Activate(ctx)
}

func (s *Service) open(d Definition) (Pool, error) {
	t, ok := find(s.kinds(), d.Type)
	if !ok {
		return nil, fmt.Errorf("storage '%s' is of type '%s', which cannot be used yet", d.ID, d.Type)
	}
	return t.open(d.Options, Env{
		ID: d.ID, Type: d.Type, Runner: s.o.Runner, Zone: s.o.Zone, QEMUImg: s.o.QEMUImg,
		Disposable: filepath.Clean(s.o.Root) != "/",
		Contents:   d.Content,
		Lock:       func(ctx context.Context, fn func(context.Context) error) error { return s.lock(ctx, d, fn) },
		Guests:     s.o.Guests,
		Root:       s.o.Root,
		Secrets:    s.o.Secrets,
		Place:      s.place,
		Volume:     s.ready,
		Probe:      s.o.Probe,
	})
}

// place tells where a volume would lie, and on which type of storage.
func (s *Service) place(ctx context.Context, v id.Volume) (kind, path string, err error) {
	d, err := s.Lookup(ctx, v.Storage)
	if err != nil {
		return "", "", err
	}
	path, err = s.Path(ctx, v, "")
	return d.Type, path, err
}

// ready makes a volume ready for a storage that lies on it.
func (s *Service) ready(ctx context.Context, v id.Volume) (string, error) {
	if err := s.ActivateVolumes(ctx, "", v); err != nil {
		return "", err
	}
	return s.Path(ctx, v, "")
}

// lockPatience is how long others may hold a storage's lock.
const lockPatience = 60 * time.Second

// lock runs fn while no other chooses names on the storage.
func (s *Service) lock(ctx context.Context, d Definition, fn func(context.Context) error) error {
	if d.Shared && s.o.Lock != nil {
		return s.o.Lock(ctx, "storage-"+string(d.ID), fn)
	}
	path := filepath.Join(s.o.Root, "run/lock/pve-manager/pve-storage-"+string(d.ID))
	return file.WithLock(ctx, path, file.LockOptions{Patience: lockPatience, What: "storage " + string(d.ID)}, fn)
}

// DefaultFormat returns the format that new images of a storage get, and all that
// they can have.
func (s *Service) DefaultFormat(ctx context.Context, storeid id.Storage) (string, []string, error) {
	d, err := s.Lookup(ctx, storeid)
	if err != nil {
		return "", nil, err
	}
	t, ok := find(s.kinds(), d.Type)
	if ok && t.FormatsOf != nil {
		t.Formats = t.FormatsOf(d.Options)
	}
	if !ok || len(t.Formats) == 0 {
		return "raw", []string{"raw"}, nil
	}
	if format := d.Options["format"]; slices.Contains(t.Formats, format) {
		return format, t.Formats, nil
	}
	return t.Formats[0], t.Formats, nil
}

// SelectExisting tells whether the volumes of a type of storage are made elsewhere, and
// only chosen from here.
func (s *Service) SelectExisting(kind string) bool {
	t, _ := find(s.kinds(), kind)
	return t.Existing
}

// Sections describes storage.cfg, with all types there are.
func (s *Service) Sections() *config.Sections {
	return Sections(s.allKinds(context.Background())) // each program's answer is bounded in time
}

// Activate makes storages ready for use on this node.
func (s *Service) Activate(ctx context.Context, storeids ...id.Storage) error {
	for _, storeid := range slices.Compact(slices.Sorted(slices.Values(storeids))) {
		if _, err := s.use(ctx, storeid); err != nil {
			return err
		}
	}
	return nil
}

// Status returns how full a storage is.
func (s *Service) Status(ctx context.Context, storeid id.Storage) (Status, error) {
	p, err := s.use(ctx, storeid)
	if err != nil {
		return Status{}, err
	}
	return p.Status(ctx)
}

// Subdir returns the folder of a storage in which files of a content lie.
func (s *Service) Subdir(ctx context.Context, storeid id.Storage, c Content) (string, error) {
	p, err := s.Pool(ctx, storeid)
	if err != nil {
		return "", err
	}
	d, ok := p.(Directory)
	if !ok {
		return "", fmt.Errorf("storage definition has no path")
	}
	return d.Subdir(c)
}

// Locate returns the volume that lies at a path of the host, and its content; no
// content where it is none of a storage's.
func (s *Service) Locate(ctx context.Context, path string) (Content, id.Volume, error) {
	c, err := s.Config(ctx)
	if err != nil {
		return "", id.Volume{}, err
	}
	for _, d := range c.Storages {
		p, err := s.open(d)
		if err != nil {
			continue
		}
		l, ok := p.(Locator)
		if !ok {
			continue
		}
		if content, name := l.Locate(ctx, path); content != "" {
			return content, id.Volume{Storage: d.ID, Name: name}, nil
		}
	}
	return "", id.Volume{}, nil
}

// Absolute returns the path of the host that text is, or of the volume it names.
func (s *Service) Absolute(ctx context.Context, text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		return text, nil
	}
	v, err := id.ParseVolume(text)
	if err != nil {
		return "", err
	}
	return s.Path(ctx, v, "")
}
