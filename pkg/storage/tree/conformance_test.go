package tree

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// text is a value that the suites write as a number, a string or null.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	if s := strings.Trim(string(raw), `"`); s != "null" {
		*t = text(s)
	}
	return nil
}

func (t text) guest() id.VM { return vmid(string(t)) }

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestConformanceParseVolname(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name  string
			Input struct{ Volname string }
			// Only one of the two is set.
			Expect struct {
				Error  string
				Result *struct {
					Vtype, Name, Format      text
					VMID, Basename, Basevmid text
					IsBase                   bool `json:"is_base"`
				}
			}
		}
	}
	conformance.Load(t, "cluster/storage-parse-volname", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := Parse(c.Input.Volname)
			if want := c.Expect.Error; errorText(err) != want {
				t.Fatalf("error %v, want %q", err, want)
			}
			if err != nil {
				return
			}
			r := c.Expect.Result
			want := storage.Name{
				Content: storage.Content(r.Vtype), File: string(r.Name), Guest: r.VMID.guest(), Format: string(r.Format),
				Base: string(r.Basename), BaseGuest: r.Basevmid.guest(), IsBase: r.IsBase,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// aTree is a tree in the given folder with what tests need.
func aTree(root string) *Tree {
	return &Tree{Root: root, MakeBase: true, MakeSubdirs: true, Env: storage.Env{
		ID: "local", Runner: run.Host{}, Zone: time.UTC, QEMUImg: "qemu-img", Contents: storage.AllContents(), Disposable: true,
		Lock:   func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) },
		Guests: func(context.Context) (map[id.VM]string, error) { return nil, nil },
	}}
}

// definition is how the suites spell a storage.
type definition struct {
	Path        string
	ContentDirs map[string]string `json:"content-dirs"`
}

func TestConformanceGetSubdir(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name  string
			Input struct {
				Storage definition
				Vtype   storage.Content
			}
			Expect struct{ Path, Error string }
		}
	}
	conformance.Load(t, "cluster/storage-get-subdir", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			tr := aTree(c.Input.Storage.Path)
			tr.ContentDirs = c.Input.Storage.ContentDirs
			got, err := tr.Subdir(c.Input.Vtype)
			if got != c.Expect.Path || errorText(err) != c.Expect.Error {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestConformanceFilesystemPath(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name  string
			Input struct {
				Storage  definition
				Volname  string
				Snapname text
			}
			Expect struct {
				Error  string
				Result struct{ Path, VMID, Vtype text }
			}
		}
	}
	conformance.Load(t, "cluster/storage-filesystem-path", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			path, err := aTree(c.Input.Storage.Path).Path(c.Input.Volname, string(c.Input.Snapname))
			if path != string(c.Expect.Result.Path) || errorText(err) != c.Expect.Error {
				t.Fatalf("got %q, %v", path, err)
			}
			if n, _ := Parse(c.Input.Volname); err == nil &&
				(n.Guest != c.Expect.Result.VMID.guest() || string(n.Content) != string(c.Expect.Result.Vtype)) {
				t.Errorf("parsed as %+v", n)
			}
		})
	}
}

// lay makes a file of a case: an image where it has a format, else an empty one of
// that size.
func lay(t *testing.T, root string, raw json.RawMessage) {
	t.Helper()
	var f struct {
		Kind, Path, Format, Backing string
		BackingFormat               string `json:"backing_format"`
		Size                        int64
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	path := strings.ReplaceAll(f.Path, "${storage}", root)
	if f.Kind == "dir" {
		check(t, os.MkdirAll(path, 0o755))
		return
	}
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	if f.Format == "" {
		check(t, os.WriteFile(path, nil, 0o644))
		check(t, os.Truncate(path, f.Size))
		return
	}
	args := []string{"create", "-q", "-f", f.Format}
	if f.Backing != "" {
		args = append(args, "-u", "-b", f.Backing, "-F", f.BackingFormat)
	}
	needs(t, "qemu-img")
	_, err := run.Output(t.Context(), run.Host{}, "qemu-img", append(args, path, fmt.Sprint(f.Size))...)
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := (run.Host{}).Look(program); err != nil {
		t.Skipf("needs %s: %v", program, err)
	}
}

func TestConformancePathToVolumeID(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name   string
			Input  json.RawMessage
			Expect struct{ Volid, Vtype text }
		}
	}
	conformance.Load(t, "cluster/storage-path-to-volume-id", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			root := t.TempDir()
			lay(t, root, c.Input)
			var in struct{ Path string }
			check(t, json.Unmarshal(c.Input, &in))
			content, name := aTree(root).Locate(t.Context(), strings.ReplaceAll(in.Path, "${storage}", root))
			volid := ""
			if name != "" {
				volid = "local:" + name
			}
			if string(content) != string(c.Expect.Vtype) || volid != string(c.Expect.Volid) {
				t.Errorf("got %q, %q, want %q, %q", content, volid, c.Expect.Vtype, c.Expect.Volid)
			}
		})
	}
}

func TestConformanceListVolumes(t *testing.T) {
	var suite struct {
		Common struct {
			ContentTypes []storage.Content `json:"content_types"`
			VMList       struct {
				IDs map[id.VM]struct{ Type string }
			}
			Size int64 `json:"fixed_size"`
		}
		Cases []struct {
			Name  string
			Input struct {
				Files []json.RawMessage
				VMID  text
			}
			Expect struct {
				Volumes []struct {
					Content, Format, Parent, VMID, Volid, Subtype text
					Size, Ctime                                   int64
				}
			}
		}
	}
	conformance.Load(t, "cluster/storage-list-volumes", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			tr := aTree(t.TempDir())
			tr.Guests = func(context.Context) (map[id.VM]string, error) {
				kinds := map[id.VM]string{}
				for vm, g := range suite.Common.VMList.IDs {
					kinds[vm] = g.Type
				}
				return kinds, nil
			}
			for _, f := range c.Input.Files {
				lay(t, tr.Root, f)
			}
			got, err := tr.List(t.Context(), storage.Filter{Content: suite.Common.ContentTypes, Guest: c.Input.VMID.guest()})
			check(t, err)
			want := make([]storage.Volume, len(c.Expect.Volumes))
			for i, v := range c.Expect.Volumes {
				want[i] = storage.Volume{
					Name: strings.TrimPrefix(string(v.Volid), "local:"), Content: storage.Content(v.Content), Format: string(v.Format),
					Size: suite.Common.Size, Guest: v.VMID.guest(), Parent: string(v.Parent), Subtype: string(v.Subtype),
					Created: time.Unix(v.Ctime, 0).UTC(),
				}
			}
			// What the original test has made up: the time of what is no backup, and the
			// space used. The size is compared, as the files are made with it.
			for i := range got {
				got[i].Used = 0
				if i < len(want) && got[i].Content != storage.Backups {
					got[i].Created = want[i].Created
				}
			}
			if len(got)+len(want) > 0 {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
