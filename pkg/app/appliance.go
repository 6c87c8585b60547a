package app

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/appliance"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// appliances joins what brings templates of containers to storages.
func (a *App) appliances(runner run.Runner) *appliance.Service {
	return &appliance.Service{Root: a.Root, Runner: runner, Storage: a.Storage, Proxy: a.httpProxy}
}

// httpProxy returns the proxy that the cluster downloads through, empty for none.
func (a *App) httpProxy(ctx context.Context) (string, error) {
	d, err := a.Cluster.Datacenter(ctx, func(fault string) { api.Warnf(ctx, "%s", fault) })
	if err != nil || d.HTTPProxy == nil {
		return "", err
	}
	return *d.HTTPProxy, nil
}

// applianceWords are the templates that can be downloaded.
func (a *App) applianceWords(ctx context.Context) map[string]string {
	all, err := a.Appliances.Available(ctx)
	if err != nil {
		return nil
	}
	words := make(map[string]string, len(all))
	for _, t := range all {
		words[t.Template] = t.Headline
	}
	return words
}

// templateWords are the templates of containers on all storages that can be used here.
func (a *App) templateWords(ctx context.Context) map[string]string {
	c, err := a.Storage.Config(ctx)
	if err != nil {
		return nil
	}
	words := map[string]string{}
	for _, d := range c.Storages {
		if d.Disabled || !d.On(id.Node(a.Node)) || !d.Has(storage.Templates) {
			continue
		}
		pool, err := a.Storage.Pool(ctx, d.ID)
		if err != nil {
			continue
		}
		volumes, err := pool.List(ctx, storage.Filter{Content: []storage.Content{storage.Templates}})
		if err != nil {
			continue
		}
		for _, v := range volumes {
			words[string(d.ID)+":"+v.Name] = schema.Size(v.Size).String()
		}
	}
	return words
}
