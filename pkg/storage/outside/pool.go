package outside

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A pool is a storage that a program serves.
type pool struct {
	storage.Env
	program   *program
	described *Description
	options   schema.Params
}

// The arguments of calls.
type (
	volumeArgs struct {
		Name     string `json:"name,omitempty"`
		Snapshot string `json:"snapshot,omitempty"`
		New      string `json:"new,omitempty"`
		Format   string `json:"format,omitempty"`
		Size     *int64 `json:"size,omitempty"` // bytes
		Running  bool   `json:"running,omitempty"`
	}
	listArgs struct {
		Content []storage.Content `json:"content"`
		Guest   id.VM             `json:"guest,omitempty"`
	}
	secretArgs struct {
		Secrets []string `json:"secrets"` // that were set or deleted
	}
)

// The results of calls.
type (
	pathResult struct {
		Path     string         `json:"path"`
		Blockdev map[string]any `json:"blockdev"`
	}
	statusResult struct {
		Total     int64 `json:"total"`
		Used      int64 `json:"used"`
		Available int64 `json:"available"`
	}
	infoResult struct {
		Name    string `json:"name"` // in lists
		Size    int64  `json:"size"`
		Used    int64  `json:"used"`
		Format  string `json:"format"`
		Parent  string `json:"parent"`
		Created int64  `json:"created"` // seconds since 1970
		Notes   string `json:"notes"`
	}
	snapshotResult struct {
		Name    string `json:"name"`
		ID      string `json:"id"`
		Created int64  `json:"created"`
	}
)

// ask makes a call that changes nothing.
func (p *pool) ask(ctx context.Context, call string, args, into any) error {
	return p.call(ctx, call, args, into, true)
}

// do makes a call that changes something. A dry run is told of it.
func (p *pool) do(ctx context.Context, call string, args any) error {
	if told := plan.From(ctx); told != nil {
		text, err := json.Marshal(args)
		told.Stepf("%s %s %s", p.program.path, call, text)
		return err
	}
	return p.call(ctx, call, args, nil, false)
}

func (p *pool) call(ctx context.Context, call string, args, into any, readOnly bool) error {
	secrets, err := p.secrets(ctx)
	if err != nil {
		return err
	}
	result, err := p.program.call(ctx, request{
		API: API, Call: call, Args: args,
		Storage: &section{ID: string(p.ID), Type: p.Type, Content: p.Contents, Options: p.options, Secrets: secrets, Root: cmp.Or(p.Root, "/")},
	}, p.described.limit(call), readOnly)
	if err != nil {
		return fmt.Errorf("storage '%s': %w", p.ID, err)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(result, into); err != nil {
		return fmt.Errorf("storage '%s': %s: %s: its result cannot be read: %w", p.ID, call, p.program.path, err)
	}
	return nil
}

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) { return p.described.parse(name) }

// locate asks where a volume is. Whoever wants to know has no context: the call is
// bounded in time.
func (p *pool) locate(name, snap string) (pathResult, error) {
	var r pathResult
	if _, err := p.Parse(name); err != nil {
		return r, err
	}
	if err := p.ask(context.Background(), "path", volumeArgs{Name: name, Snapshot: snap}, &r); err != nil {
		return r, err
	}
	if r.Path == "" {
		return r, fmt.Errorf("storage '%s': path: %s: its result has no path", p.ID, p.program.path)
	}
	return r, nil
}

// Path asks where a volume is.
func (p *pool) Path(name, snap string) (string, error) {
	r, err := p.locate(name, snap)
	return r.Path, err
}

// Blockdev is how QEMU reaches a volume: by the driver that the program names, or as the
// file or device at its path.
func (p *pool) Blockdev(name string) (map[string]any, error) {
	r, err := p.locate(name, "")
	if err != nil || r.Blockdev != nil {
		return r.Blockdev, err
	}
	driver := "file"
	if st, err := os.Stat(r.Path); err == nil && st.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice {
		driver = "host_device"
	}
	return map[string]any{"driver": driver, "filename": r.Path}, nil
}

// Has tells what the description says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := p.Parse(name)
	if err != nil {
		return false
	}
	state := "current"
	switch {
	case snap != "":
		state = "snap"
	case n.IsBase:
		state = "base"
	}
	return slices.Contains(p.described.Features[f], state)
}

// Activate makes the storage ready.
func (p *pool) Activate(ctx context.Context) error {
	if plan.From(ctx) != nil {
		return nil // to make it ready may be a change
	}
	return p.call(ctx, "activate", nil, nil, false)
}

// Deactivate is the inverse.
func (p *pool) Deactivate(ctx context.Context) error { return p.do(ctx, "deactivate", nil) }

// Status asks how full the storage is.
func (p *pool) Status(ctx context.Context) (storage.Status, error) {
	var r statusResult
	err := p.ask(ctx, "status", nil, &r)
	return storage.Status{Total: r.Total, Used: r.Used, Available: r.Available}, err
}

// List asks for the volumes.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	contents := slices.DeleteFunc(slices.Clone(f.Content), func(c storage.Content) bool { return c == storage.None })
	if slices.Contains(contents, storage.Rootdir) && !slices.Contains(contents, storage.Images) {
		contents = append(contents, storage.Images) // images of containers have names like those of others
	}
	if len(contents) == 0 {
		return nil, nil
	}
	var found []infoResult
	if err := p.ask(ctx, "list", listArgs{contents, f.Guest}, &found); err != nil {
		return nil, err
	}
	kinds, err := p.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var list []storage.Volume
	for _, v := range found {
		n, err := p.Parse(v.Name)
		if err != nil || f.Guest != 0 && n.Guest != f.Guest {
			continue
		}
		if n.Content == storage.Images && kinds[n.Guest] == "lxc" {
			n.Content = storage.Rootdir
		}
		if slices.Contains(f.Content, n.Content) {
			list = append(list, storage.Volume{
				Name: v.Name, Content: n.Content, Format: cmp.Or(v.Format, n.Format), Size: v.Size, Used: v.Used, Created: moment(v.Created),
				Guest: n.Guest, Parent: cmp.Or(v.Parent, n.Base), Notes: v.Notes,
			})
		}
	}
	slices.SortFunc(list, func(a, b storage.Volume) int {
		return cmp.Or(cmp.Compare(slices.Index(f.Content, a.Content), slices.Index(f.Content, b.Content)), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

func moment(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// Info asks for one volume.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	n, err := p.Parse(name)
	if err != nil {
		return storage.Info{}, err
	}
	if p.planned(ctx, name) {
		return storage.Info{Format: n.Format}, nil // it would be there
	}
	var r infoResult
	err = p.ask(ctx, "info", volumeArgs{Name: name}, &r)
	return storage.Info{Size: r.Size, Used: r.Used, Format: cmp.Or(r.Format, n.Format), Parent: cmp.Or(r.Parent, n.Base)}, err
}

// Free removes a volume.
func (p *pool) Free(ctx context.Context, name string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	free := func(ctx context.Context) error {
		err := p.do(ctx, "free", volumeArgs{Name: name})
		if errors.Is(err, storage.ErrNotExist) {
			fmt.Fprintf(api.StreamsOf(ctx).Err, "volume '%s:%s' does not exist\n", p.ID, name)
			return nil
		}
		return err
	}
	if !n.IsBase {
		return free(ctx)
	}
	return p.locked(ctx, func(ctx context.Context) error {
		if err := p.CheckUnused(ctx, name); err != nil {
			return err
		}
		return free(ctx)
	})
}

// locked runs fn under the storage's lock; a dry run needs none.
func (p *pool) locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return p.Lock(ctx, fn)
}

// CheckUnused returns an ErrInUse for a base that has clones: their names say so.
func (p *pool) CheckUnused(ctx context.Context, name string) error {
	n, err := p.Parse(name)
	if err != nil || !n.IsBase {
		return err
	}
	list, err := p.List(ctx, storage.Filter{Content: []storage.Content{storage.Images, storage.Rootdir}})
	if err != nil {
		return err
	}
	for _, v := range list {
		if c, err := p.Parse(v.Name); err == nil && c.Base == n.File {
			return storage.Told(fmt.Sprintf("base volume '%s' is still in use by '%s'", name, v.Name), storage.ErrInUse)
		}
	}
	return nil
}

// secretsName is where the secrets of the storage are kept.
func (p *pool) secretsName() string { return "storage/" + string(p.ID) + ".json" }

// secrets reads those of the storage.
func (p *pool) secrets(ctx context.Context) (map[string]string, error) {
	if !slices.ContainsFunc(slices.Collect(maps.Values(p.described.Properties)), func(o *Property) bool { return o.Secret }) {
		return nil, nil
	}
	text, err := p.Secrets.Read(ctx, p.secretsName())
	if err != nil || len(text) == 0 {
		return nil, err
	}
	var found map[string]string
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("secrets of storage '%s' cannot be read", p.ID) // the error could show them
	}
	return found, nil
}

// keep changes the secrets of the storage and returns the names of those that did.
func (p *pool) keep(ctx context.Context, change map[string]*string) ([]string, error) {
	names := slices.Sorted(maps.Keys(change))
	if len(change) == 0 {
		return names, nil
	}
	all, err := p.secrets(ctx)
	if err != nil {
		return names, err
	}
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range change {
		if value == nil {
			delete(all, name)
		} else {
			all[name] = *value
		}
	}
	if len(all) == 0 {
		return names, p.Secrets.Remove(ctx, p.secretsName())
	}
	text, err := json.Marshal(all)
	if err != nil {
		return names, err
	}
	return names, p.Secrets.Write(ctx, p.secretsName(), text)
}

// told tells the program of its section, where it wants to know.
func (p *pool) told(ctx context.Context, call string, secrets []string) error {
	if !slices.Contains(p.described.Abilities, Configure) {
		return nil
	}
	return p.do(ctx, call, secretArgs{secrets})
}

// Added keeps the secrets.
func (p *pool) Added(ctx context.Context, secrets map[string]string) error {
	change := map[string]*string{}
	for name, value := range secrets {
		change[name] = &value
	}
	names, err := p.keep(ctx, change)
	if err != nil {
		return err
	}
	return p.told(ctx, "added", names)
}

// Changed keeps the secrets that are new.
func (p *pool) Changed(ctx context.Context, secrets map[string]*string) error {
	names, err := p.keep(ctx, secrets)
	if err != nil {
		return err
	}
	return p.told(ctx, "changed", names)
}

// Removed forgets the secrets.
func (p *pool) Removed(ctx context.Context) error {
	return errors.Join(p.told(ctx, "removed", nil), p.Secrets.Remove(ctx, p.secretsName()))
}
