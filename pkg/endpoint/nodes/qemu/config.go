package qemu

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func (s *Service) configMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "vm_config", Verb: "GET", Path: "/nodes/{node}/qemu/{vmid}/config",
			Doc: "Show the configuration of a VM, with what is pending applied.", ProxyTo: "node", Permissions: auditVM(),
		}, s.config),
		api.New(api.Method{
			Name: "vm_pending", Verb: "GET", Path: "/nodes/{node}/qemu/{vmid}/pending",
			Doc: "Show the configuration of a VM beside what is pending.", ProxyTo: "node", Permissions: auditVM(),
		}, s.pending),
	}
}

type configRequest struct {
	target
	Current  *bool        `pve:"current" doc:"Show what holds now, without what is pending." default:"0"`
	Snapshot *id.Snapshot `pve:"snapshot" doc:"Show the configuration kept in this snapshot."`
}

// configShape is a configuration and what tells whether it has changed since.
type configShape struct {
	Digest string `pve:"digest" doc:"SHA-1 of the configuration file." maxlen:"64"`
	qemu.Config
}

type configReply = schema.Texts[configShape]

func (s *Service) config(ctx context.Context, req configRequest) (configReply, error) {
	doc, err := s.VMs.Load(ctx, req.VMID)
	if err != nil {
		return configReply{}, err
	}
	values := doc.Values
	switch {
	case req.Snapshot != nil:
		snap, ok := doc.Snapshots[string(*req.Snapshot)]
		if !ok {
			return configReply{}, fmt.Errorf("snapshot '%s' does not exist", *req.Snapshot)
		}
		values = snap
	case req.Current == nil || !*req.Current:
		values = guest.Merged(doc)
	}
	return reply(values, doc.Digest)
}

// reply makes an answer of values. Values that other versions allow, and this one does
// not, are refused here and not when reading.
func reply(values schema.Params, digest string) (configReply, error) {
	values = visible(values)
	values["digest"] = digest
	r := configReply{Params: values}
	err := r.Verify()
	if faults, ok := errors.AsType[schema.Faults](err); ok {
		err = &api.Error{Status: http.StatusBadRequest, Message: "Result verification failed", Params: faults}
	}
	return r, err
}

// visible returns values as they may be shown.
func visible(values schema.Params) schema.Params {
	values = maps.Clone(values)
	if password, ok := values["cipassword"]; ok {
		values["cipassword"] = *hide("cipassword", &password)
	}
	return values
}

// pendingItem is one option and what is pending of it.
type pendingItem struct {
	Delete  *int    `pve:"delete" doc:"1 where the option will be gone, 2 where by force." min:"0" max:"2"`
	Key     string  `pve:"key" doc:"Name of the option."`
	Pending *string `pve:"pending" doc:"What the option will be."`
	Value   *string `pve:"value" doc:"What the option is."`
}

func (s *Service) pending(ctx context.Context, req target) ([]pendingItem, error) {
	doc, err := s.VMs.Load(ctx, req.VMID)
	if err != nil {
		return nil, err
	}
	return pendingItems(doc), nil
}

func pendingItems(doc *config.Doc) []pendingItem {
	var items []pendingItem
	for _, change := range guest.Changes(doc) {
		item := pendingItem{Key: change.Key, Value: hide(change.Key, change.Value), Pending: hide(change.Key, change.Pending)}
		switch {
		case change.Force:
			item.Delete = new(2)
		case change.Delete:
			item.Delete = new(1)
		}
		items = append(items, item)
	}
	return items
}

// hide returns the value of an option as it may be shown.
func hide(key string, value *string) *string {
	if key == "cipassword" && value != nil {
		return new("**********")
	}
	return value
}
