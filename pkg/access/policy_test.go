package access_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func policy(text string) *access.Policy { return access.Parse(text).Policy() }

func TestConformancePermissions(t *testing.T) {
	var suite struct {
		Common struct {
			Groups map[string]map[string]string
		}
		Cases []struct {
			Name   string
			Input  struct{ Group, Kind, Path, User string }
			Expect struct{ Roles, Privileges []string }
		}
	}
	conformance.Load(t, "cluster/access-permissions", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p := policy(suite.Common.Groups[c.Input.Group]["user.cfg"])
			want, got := c.Expect.Roles, slices.Sorted(maps.Keys(p.RolesOn(c.Input.User, c.Input.Path)))
			if c.Input.Kind == "privileges" {
				want, got = c.Expect.Privileges, slices.Sorted(maps.Keys(p.Permissions(c.Input.User, c.Input.Path)))
			}
			slices.Sort(want)
			if diff := cmp.Diff(strings.Join(want, " "), strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConformanceUserConfig(t *testing.T) {
	var suite struct {
		Common struct {
			BuiltinRoles map[string]map[string]int `json:"builtin_roles"`
		}
		Cases []struct {
			Name   string
			Input  struct{ Op, Raw string }
			Expect struct {
				Config   map[string]any
				Warnings []string
			}
		}
	}
	conformance.Load(t, "cluster/access-user-cfg", &suite)
	t.Run("builtin roles", func(t *testing.T) {
		want := map[string][]string{}
		for role, privileges := range suite.Common.BuiltinRoles {
			want[role] = slices.Sorted(maps.Keys(privileges))
		}
		if diff := cmp.Diff(want, policy("").Roles); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want[access.Administrator], access.Privileges()); diff != "" {
			t.Error(diff)
		}
	})
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if c.Input.Op != "parse" {
				t.Skip("users, groups and roles are not written from what they mean yet")
			}
			p := policy(c.Input.Raw)
			delete(c.Expect.Config["roles"].(map[string]any), "$builtin")
			if diff := cmp.Diff(c.Expect.Config, configOf(t, p)); diff != "" {
				t.Error(diff)
			}
			if len(p.Warnings) < len(slices.Compact(c.Expect.Warnings)) || len(c.Expect.Warnings) == 0 && len(p.Warnings) > 0 {
				t.Errorf("warnings %q, want %q", p.Warnings, c.Expect.Warnings)
			}
		})
	}
}

type tree = map[string]any

// set puts a value into a tree, making branches on the way.
func set(t tree, value any, path ...string) {
	for _, name := range path[:len(path)-1] {
		if t[name] == nil {
			t[name] = tree{}
		}
		t = t[name].(tree)
	}
	t[path[len(path)-1]] = value
}

// configOf is a policy in the shape that the conformance suite has it in.
func configOf(t *testing.T, p *access.Policy) (config tree) {
	t.Helper()
	c := tree{"acl_root": tree{}, "roles": tree{}}
	flag := map[bool]int{true: 1}
	for name, u := range p.Users {
		user := tree{"email": nil, "enable": flag[u.Enabled], "expire": u.Expire}
		for token, d := range u.Tokens {
			set(user, tree{"expire": d.Expire, "privsep": flag[d.Separated]}, "tokens", token)
		}
		set(c, user, "users", name)
	}
	for group, members := range p.Groups {
		set(c, tree{}, "groups", group, "users")
		for _, m := range members {
			set(c, 1, "groups", group, "users", m)
			set(c, 1, "users", m, "groups", group)
		}
	}
	builtin := policy("").Roles
	for role, privileges := range p.Roles {
		if _, ok := builtin[role]; ok {
			continue
		}
		set(c, tree{}, "roles", role)
		for _, privilege := range privileges {
			set(c, 1, "roles", role, privilege)
		}
	}
	for name, pool := range p.Pools {
		d := tree{"vms": tree{}, "storage": tree{}, "pools": tree{}}
		for _, guest := range pool.Guests {
			set(d, 1, "vms", guest.String())
			set(c, name, "vms", guest.String())
		}
		for _, s := range pool.Storages {
			set(d, 1, "storage", string(s))
		}
		for _, below := range pool.Pools {
			set(d, 1, "pools", below)
		}
		set(c, d, "pools", name)
	}
	for _, g := range p.Grants() {
		path := []string{"acl_root"}
		for _, part := range strings.FieldsFunc(g.Path, func(r rune) bool { return r == '/' }) {
			path = append(path, "children", part)
		}
		switch {
		case strings.HasPrefix(g.Member, "@"):
			path = append(path, "groups", g.Member[1:])
		case strings.Contains(g.Member, "!"):
			path = append(path, "tokens", g.Member)
		default:
			path = append(path, "users", g.Member)
		}
		set(c, flag[g.Propagate], append(path, g.Role)...)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestRolesOfSpecification(t *testing.T) {
	raw, err := os.ReadFile(conformance.Spec(t, "roles.json"))
	if err != nil {
		t.Skip("the specification is not on this machine")
	}
	var spec struct {
		Roles      map[string][]string
		Privileges []string
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	got := policy("").Roles
	for role, privileges := range spec.Roles {
		slices.Sort(privileges)
		if diff := cmp.Diff(strings.Join(privileges, " "), strings.Join(got[role], " ")); diff != "" {
			t.Errorf("%s: %s", role, diff)
		}
	}
	if len(got) != len(spec.Roles) {
		t.Errorf("%d roles, want %d", len(got), len(spec.Roles))
	}
}

const people = `
acl:1:/vms:@staff:PVEVMUser:
acl:1:/vms/100:@staff,eve@pve:NoAccess:
acl:1:/vms/100:ann@pve:PVEAuditor:
acl:0:/storage:ann@pve,@staff:PVEDatastoreUser:
acl:1:/pool/lab:ann@pve:PVEVMAdmin:
acl:1:/pool/lab:eve@pve:NoAccess:
acl:1:/pool/lab/inner:bob@pve:PVEPoolAdmin,PVEDatastoreAdmin:
acl:1://vms//7/:ann@pve!key:PVEVMUser:
acl:1:/storage:root@pam!cut:PVEDatastoreUser:
acl:1:/:ann@pve!nosuch,nobody@pve,@nogroup:Administrator:
acl:1:/:ann@pve:NoSuchRole:
acl:1:/b ad:ann@pve:PVEAdmin:
pool:lab:Lab:101:fast:
pool:lab/inner::102:fast,slow:
role:mine:VM.Audit,VM.Nonsense,VM.Console:
role:PVEAuditor:Sys.Modify:
group:staff:ann@pve,bob@pve,ghost@pve:
user:ann@pve:1:0::::::
user:bob@pve:0:0::::::
user:eve@pve:1:x::::::
user:eve@pve:1:0::::::
token:ann@pve!key:0:1::
token:ann@pve!all:0:0::
token:root@pam!cut:0:1::
token:root@pam!full:0:0::
acl:1:/vms/200:bob@pve:mine:
nonsense:1:2
`

func TestPermissions(t *testing.T) {
	p := policy(people)
	for _, c := range []struct{ name, user, path, has, hasNot string }{
		{"root", "root@pam", "/anything", "Sys.Modify Permissions.Modify", "VM.Nonsense"},
		{"group", "bob@pve", "/vms/99", "VM.Console VM.Audit", "VM.Allocate"},
		{"user beats group", "ann@pve", "/vms/100", "VM.Audit", "VM.Console"},
		{"no access", "bob@pve", "/vms/100", "", "VM.Audit"},
		{"no propagation", "ann@pve", "/storage/fast", "VM.Allocate", "Datastore.Audit"},
		{"on the path itself", "ann@pve", "/storage", "Datastore.Audit", ""},
		{"pool adds", "ann@pve", "/vms/101", "VM.Console VM.Allocate", ""},
		{"outer pool", "ann@pve", "/vms/102", "VM.Allocate", ""},
		{"inner pool only", "bob@pve", "/storage/slow", "Datastore.Allocate", ""},
		{"not the outer pool", "bob@pve", "/vms/101", "VM.Console", "Pool.Allocate"},
		{"pool denies", "eve@pve", "/vms/101", "", "VM.Audit"},
		{"own role", "bob@pve", "/vms/200", "VM.Audit VM.Console", "VM.PowerMgmt"},
		{"token cut to its own", "ann@pve!key", "/vms/7", "VM.Console", "VM.Allocate"},
		{"token with nothing", "ann@pve!key", "/vms/101", "", "VM.Allocate"},
		{"token like its user", "ann@pve!all", "/vms/101", "VM.Allocate", ""},
		{"token that is not there", "ann@pve!nosuch", "/vms/101", "", "VM.Allocate"},
		{"token of root, cut", "root@pam!cut", "/storage/fast", "Datastore.Audit", "Datastore.Allocate"},
		{"token of root", "root@pam!full", "/x", "Sys.Modify", ""},
		{"nobody", "nobody@pve", "/", "", "VM.Audit"},
		{"builtin role stays", "ann@pve", "/vms/100", "Sys.Audit", "Sys.Modify"},
		{"no path", "ann@pve", "", "", "VM.Audit"},
		{"path to be put right", "bob@pve", "//vms/99/", "VM.Console", ""},
		{"another's number", "ann@pve", "/vms/0101", "VM.Console", "VM.Allocate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			has := p.Permissions(c.user, c.path)
			for _, privilege := range strings.Fields(c.has) {
				if !has.Has(privilege) {
					t.Errorf("has no %s", privilege)
				}
			}
			for _, privilege := range strings.Fields(c.hasNot) {
				if has.Has(privilege) {
					t.Errorf("has %s", privilege)
				}
			}
		})
	}
	const warnings = 10
	if len(p.Warnings) != warnings {
		t.Errorf("%d warnings, want %d: %q", len(p.Warnings), warnings, p.Warnings)
	}
}

func TestCheck(t *testing.T) {
	ann := policy(people).As("ann@pve")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"has", ann.Check("/vms/101", "VM.Allocate", "VM.Audit"), "<nil>"},
		{"has one of two", ann.Check("/vms/100", "VM.Audit", "VM.Allocate"), "403 Permission check failed (/vms/100, VM.Allocate)"},
		{"any", ann.CheckAny("/vms/100", "VM.Allocate", "VM.Audit"), "<nil>"},
		{"none", ann.CheckAny("/vms/100", "VM.Allocate", "VM.Console"), "403 Permission check failed (/vms/100, VM.Allocate|VM.Console)"},
		{"root", policy("").As(access.Root).Check("/", access.Privileges()...), "<nil>"},
		{"a privilege that there is not", policy("").As(access.Root).Check("/", "VM.Nonsense"), "403 Permission check failed (/, VM.Nonsense)"},
	} {
		if got := fmt.Sprint(c.err); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if ann.IsRoot() || !policy("").As("root@pam").IsRoot() || policy("").As("root@pam!x").IsRoot() {
		t.Error("who is root?")
	}
}

// A policy is read by many at once.
func TestPolicyTogether(t *testing.T) {
	p := policy(people)
	for range 8 {
		t.Run("reader", func(t *testing.T) {
			t.Parallel()
			for range 100 {
				if p.Check("ann@pve!all", "/vms/101", "VM.Allocate") != nil {
					t.Fatal("denied")
				}
			}
		})
	}
}

func BenchmarkPermissions(b *testing.B) {
	var text strings.Builder
	text.WriteString("user:u@pve:1:0::::::\n")
	for n := range 1000 {
		fmt.Fprintf(&text, "pool:p%d::%d::\nacl:1:/vms/%d:u@pve:PVEVMUser:\nacl:1:/pool/p%d:u@pve:PVEVMAdmin:\n", n, n+100, n+100, n)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			policy(text.String())
		}
	})
	p := policy(text.String())
	b.Run("ask", func(b *testing.B) {
		for b.Loop() {
			if p.Check("u@pve", "/vms/777", "VM.Audit") != nil {
				b.Fatal("denied")
			}
		}
	})
}

// What is read never gives more than the file: no rights to who is not in it, and none
// on a path that does not begin like the path of a right.
func FuzzPolicy(f *testing.F) {
	f.Add(people, "ann@pve", "/vms/101")
	f.Add(text, "root@pam!x", "/vms/200")
	f.Fuzz(func(t *testing.T, text, user, path string) {
		p := policy(text)
		has := p.Permissions(user, path)
		if len(has) > 0 && user != access.Root {
			owner, _, _ := strings.Cut(user, "!")
			if p.Users[user] == nil && (p.Users[owner] == nil || owner == user) {
				t.Errorf("%q is nobody and has %v on %q", user, has, path)
			}
			if len(p.Grants()) == 0 && owner != access.Root {
				t.Errorf("%q has %v without any right", user, has)
			}
		}
		for _, g := range p.Grants() {
			if _, ok := p.Roles[g.Role]; !ok {
				t.Errorf("role of %+v", g)
			}
		}
	})
}
