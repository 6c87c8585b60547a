package storage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

func TestConformanceArchiveInfo(t *testing.T) {
	type info struct {
		Filename, Type, Format, Compression string
		Decompressor                        []string
		Standard                            int `json:"is_std_name"`
		VMID                                id.VM
		Ctime                               int64
		LogFilename, NotesFilename          string
	}
	var suite struct {
		Cases []struct {
			Name   string
			Input  struct{ Archive, Timezone string }
			Expect struct {
				Error  string
				Result info
			}
		}
	}
	conformance.Load(t, "cluster/storage-archive-info", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			zone, err := time.LoadLocation(c.Input.Timezone)
			if err != nil {
				t.Skip(err)
			}
			a, err := storage.ParseArchive(c.Input.Archive, zone)
			if err != nil {
				if err.Error() != c.Expect.Error {
					t.Error(err)
				}
				return
			}
			got := info{
				Filename: a.File, Type: a.Type, Format: a.Format, Compression: a.Compression, Decompressor: a.Decompressor,
				VMID: a.Guest, Ctime: a.Created.Unix(), LogFilename: a.Log, NotesFilename: a.Notes,
			}
			if a.Standard {
				got.Standard = 1
			}
			if diff := cmp.Diff(c.Expect.Result, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConformancePruneBackups(t *testing.T) {
	type listed struct {
		Volid, Type, Mark string
		Ctime             int64
		VMID              id.VM
	}
	var suite struct {
		Cases []struct {
			Name  string
			Input struct {
				Backups []struct {
					Volid     string
					Ctime     int64
					VMID      id.VM
					Protected int
				}
				Keep              map[string]int
				Storeid, Timezone string
				Type              *string
				VMID              *string
			}
			Expect struct{ List []listed }
		}
	}
	conformance.Load(t, "cluster/storage-prune-backups", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			in := c.Input
			zone, err := time.LoadLocation(in.Timezone)
			if err != nil {
				t.Skip(err)
			}
			var keep storage.Keep
			for name, into := range map[string]**int{
				"keep-last": &keep.Last, "keep-hourly": &keep.Hourly, "keep-daily": &keep.Daily,
				"keep-weekly": &keep.Weekly, "keep-monthly": &keep.Monthly, "keep-yearly": &keep.Yearly,
			} {
				if n, ok := in.Keep[name]; ok {
					*into = &n
				}
			}
			var backups []storage.Volume
			for _, b := range in.Backups {
				v := storage.Volume{Name: strings.TrimPrefix(b.Volid, in.Storeid+":"), Guest: b.VMID, Created: time.Unix(b.Ctime, 0), Protected: b.Protected != 0}
				if in.VMID == nil || v.Guest.String() == *in.VMID {
					backups = append(backups, v)
				}
			}
			var got []listed
			for _, p := range storage.Prune(backups, keep, zone) {
				if in.Type == nil || *in.Type == p.Type {
					got = append(got, listed{in.Storeid + ":" + p.Name, p.Type, string(p.Mark), p.Created.Unix(), p.Guest})
				}
			}
			if diff := cmp.Diff(c.Expect.List, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeepOfDefinition(t *testing.T) {
	for _, c := range []struct {
		options schema.Params
		want    string // as a property string; "none" where the storage does not say
	}{
		{nil, "none"},
		{schema.Params{"prune-backups": "keep-daily=2,keep-last=3"}, "keep-daily=2,keep-last=3"},
		{schema.Params{"maxfiles": "4"}, "keep-last=4"},
		{schema.Params{"maxfiles": "4", "prune-backups": "keep-all=1"}, "keep-all=1"},
	} {
		k, err := storage.Definition{ID: "it", Options: c.options}.Keep()
		got := "none"
		if k != nil {
			got = schema.Print(*k)
		}
		if err != nil || got != c.want {
			t.Errorf("%v: got %q, %v, want %q", c.options, got, err, c.want)
		}
	}
	if _, err := (storage.Definition{Options: schema.Params{"prune-backups": "keep-last=x"}}).Keep(); err == nil {
		t.Error("nonsense was read")
	}
}
