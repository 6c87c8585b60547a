package app

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Words returns what the running system has of a kind of thing, for the shell to
// offer: each word with what it means. kind is the name or the format of a parameter,
// p what the line already has. It must answer while somebody waits with a finger on
// the tab key, so it reads no more than it must and keeps its errors to itself.
func (a *App) Words(ctx context.Context, kind, prefix string, p schema.Params) map[string]string {
	switch kind {
	case "pve-vmid", "vmid":
		return a.guestWords(ctx, prefix)
	case "newid":
		if next, err := a.Cluster.NextFree(ctx); err == nil {
			return map[string]string{next.String(): "next free"}
		}
	case "pve-node", "node", "target":
		return a.nodeWords(ctx)
	case "pve-storage-id", "storage":
		return a.storageWords(ctx)
	case "template":
		return a.applianceWords(ctx)
	case "template_path", "ostemplate":
		return a.templateWords(ctx)
	case "snapname", "snapshot":
		return a.snapshotWords(ctx, p["vmid"])
	case "pve-bridge-id", "bridge":
		return bridgeWords()
	case "pve-volume-id", "pve-volume-id-or-qm-path", "pve-volume-id-or-absolute-path", "volume":
		return a.volumeWords(ctx, prefix)
	}
	return nil
}

// guestWords are the guests of the node by number, with their names.
func (a *App) guestWords(ctx context.Context, prefix string) map[string]string {
	guests, err := a.Cluster.LocalGuests(ctx, a.kind())
	if err != nil {
		return nil
	}
	words := make(map[string]string, len(guests))
	for _, g := range guests {
		if number := g.ID.String(); strings.HasPrefix(number, prefix) {
			words[number] = a.guestName(ctx, g.ID)
		}
	}
	return words
}

// kind is that of the guests that the tool is about.
func (a *App) kind() cluster.Kind {
	if a.Host.Guests == "" {
		return cluster.VM
	}
	return a.Host.Guests
}

// guestName finds the name in the text of a configuration: to take it apart would
// cost more than a user who waits should pay.
func (a *App) guestName(ctx context.Context, vmid id.VM) string {
	text, err := a.Cluster.ReadGuest(ctx, a.kind(), vmid)
	if err != nil {
		return ""
	}
	key := []byte("name: ")
	if a.kind() == cluster.Container {
		key = []byte("hostname: ")
	}
	for line := range bytes.Lines(text) {
		if name, ok := bytes.CutPrefix(line, key); ok {
			return string(bytes.TrimSpace(name))
		}
		if line[0] == '[' {
			break // of a snapshot
		}
	}
	return ""
}

func (a *App) nodeWords(ctx context.Context) map[string]string {
	words := map[string]string{a.Node: "this node"}
	guests, err := a.Cluster.Guests(ctx)
	if err != nil {
		return words
	}
	for _, g := range guests {
		if _, known := words[string(g.Node)]; !known {
			words[string(g.Node)] = ""
		}
	}
	return words
}

func (a *App) storageWords(ctx context.Context) map[string]string {
	c, err := a.Storage.Config(ctx)
	if err != nil {
		return nil
	}
	words := map[string]string{}
	for _, d := range c.Storages {
		words[string(d.ID)] = d.Type
	}
	return words
}

func (a *App) snapshotWords(ctx context.Context, vmid string) map[string]string {
	number, err := cluster.ParseVM(vmid)
	if err != nil {
		return nil
	}
	load := a.VMs.Load
	if a.kind() == cluster.Container {
		load = a.CTs.Load
	}
	doc, err := load(ctx, number)
	if err != nil {
		return nil
	}
	words := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(doc.Snapshots)) {
		note, _, _ := strings.Cut(doc.Snapshots[name]["description"], "\n")
		words[name] = note
	}
	return words
}

// bridgeWords are the bridges of the machine: the links that the kernel has a
// folder named bridge for.
func bridgeWords() map[string]string {
	found, err := filepath.Glob("/sys/class/net/*/bridge")
	if err != nil {
		return nil
	}
	words := map[string]string{}
	for _, path := range found {
		if _, err := os.Stat(path); err == nil {
			words[filepath.Base(filepath.Dir(path))] = ""
		}
	}
	return words
}

// volumeWords are the volumes of the storage that the prefix names, or the storages
// while it names none.
func (a *App) volumeWords(ctx context.Context, prefix string) map[string]string {
	storeid, _, named := strings.Cut(prefix, ":")
	words := map[string]string{}
	if !named {
		for name, doc := range a.storageWords(ctx) {
			words[name+":"] = doc
		}
		return words
	}
	pool, err := a.Storage.Pool(ctx, id.Storage(storeid))
	if err != nil {
		return nil
	}
	volumes, err := pool.List(ctx, storage.Filter{Content: storage.AllContents()})
	if err != nil {
		return nil
	}
	for _, v := range volumes {
		words[storeid+":"+v.Name] = schema.Size(v.Size).String()
	}
	return words
}
