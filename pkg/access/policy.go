package access

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Policy is what the file means: who there is, and who may do what. It does not
// change, and answers any number of goroutines.
type Policy struct {
	Users  map[string]*User
	Groups map[string][]string // their members, sorted
	Roles  map[string][]string // their privileges, sorted; those that are always there too
	Pools  map[string]*Pool
	// Warnings tell what the file says and does not count: users, roles or privileges that
	// there are not, names that cannot be.
	Warnings []string

	// acl has for a path, and a member as the file writes it (a user, @group, or token),
	// the roles, and whether they hold for what is below too.
	acl      map[string]map[string]map[string]bool
	groupsOf map[string][]string
	poolOf   map[id.VM]string
}

// User is somebody who can log in.
type User struct {
	Enabled bool
	Expire  int64 // when, in seconds since 1970; 0 for never
	Tokens  map[string]Token
}

// Token is a key of a user for programs.
type Token struct {
	Expire int64
	// Separated tokens have rights of their own, of those that the user has; others have
	// all that the user has.
	Separated bool
}

// Pool is a group of guests and storages that rights can be given on.
type Pool struct {
	Guests   []id.VM
	Storages []id.Storage
	Pools    []string // those right below it, by their full names
}

// Grant is one right: a role that somebody has on a path.
type Grant struct {
	Path      string
	Member    string // a user, a token, or @group
	Role      string
	Propagate bool // holds for what is below the path too
}

// Policy reads the meaning of the file. The order of its lines is of no matter.
func (r *Rights) Policy() *Policy {
	p := &Policy{
		Users: map[string]*User{}, Groups: map[string][]string{}, Roles: builtinRoles(), Pools: map[string]*Pool{},
		acl: map[string]map[string]map[string]bool{}, groupsOf: map[string][]string{}, poolOf: map[id.VM]string{},
	}
	for _, step := range []struct {
		kind string
		read func(line)
	}{
		{"user", p.readUser}, {"token", p.readToken}, {"group", p.readGroup}, {"pool", p.readPool}, {"role", p.readRole}, {"acl", p.readGrants},
	} {
		for _, l := range r.blocks[blockOf(step.kind)] {
			if l.word(0) == step.kind {
				step.read(l)
			}
		}
	}
	if p.Users[Root] == nil {
		p.Users[Root] = &User{Enabled: true}
	}
	p.nestPools()
	for _, l := range r.blocks[others] {
		p.warn("ignore config line: %s", strings.Join(l, ":"))
	}
	return p
}

// word is a field without the blanks around it.
func (l line) word(n int) string { return strings.TrimSpace(l.field(n)) }

func (p *Policy) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, "user config - "+fmt.Sprintf(format, args...))
}

func valid(format, name string) bool { return schema.CheckFormat(format, name) == nil }

// truth reads a flag as upstream does: whatever is not empty or 0 is set.
func truth(text string) bool { return text != "" && text != "0" }

// expiry reads a time; none is 0.
func expiry(text string) (int64, bool) {
	if text == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil
}

func (p *Policy) readUser(l line) {
	name := l.word(1)
	if !valid("pve-userid", name) {
		p.warn("ignore user '%s' - invalid user name", name)
		return
	}
	expire, ok := expiry(l.word(3))
	if !ok {
		p.warn("ignore user '%s' - (illegal characters in expire '%s')", name, l.word(3))
		return
	}
	p.Users[name] = &User{Enabled: truth(l.word(2)), Expire: expire}
}

func (p *Policy) readToken(l line) {
	full := l.word(1)
	owner, name, ok := splitToken(full)
	expire, fits := expiry(l.word(2))
	switch u := p.Users[owner]; {
	case !ok:
		p.warn("ignore invalid tokenid '%s'", full)
	case !fits:
		p.warn("ignore token '%s' - (illegal characters in expire '%s')", full, l.word(2))
	case u == nil && owner != Root:
		p.warn("ignore token '%s' - user does not exist", full)
	default:
		if u == nil {
			u = &User{Enabled: true}
			p.Users[owner] = u
		}
		if u.Tokens == nil {
			u.Tokens = map[string]Token{}
		}
		u.Tokens[name] = Token{Expire: expire, Separated: truth(l.word(3))}
	}
}

// splitToken takes apart the id of a token: user@realm!name.
func splitToken(full string) (owner, name string, ok bool) {
	if !valid("pve-tokenid", full) {
		return "", "", false
	}
	at := strings.LastIndexByte(full, '!')
	return full[:at], full[at+1:], true
}

func (p *Policy) readGroup(l line) {
	name := l.word(1)
	if !valid("pve-groupid", name) {
		p.warn("ignore group '%s' - invalid characters in group name", name)
		return
	}
	members := p.Groups[name]
	for _, user := range schema.SplitList(l.word(2)) {
		if p.Users[user] == nil && user != Root {
			p.warn("ignore invalid group member '%s'", user)
		} else if !slices.Contains(members, user) {
			members = append(members, user)
			p.groupsOf[user] = append(p.groupsOf[user], name)
		}
	}
	slices.Sort(members)
	p.Groups[name] = members
}

func (p *Policy) readPool(l line) {
	name := l.word(1)
	if !valid("pve-poolid", name) {
		p.warn("ignore pool '%s' - invalid characters in pool name", name)
		return
	}
	pool := p.Pools[name]
	if pool == nil {
		pool = &Pool{}
		p.Pools[name] = pool
	}
	for _, text := range schema.SplitList(l.word(poolGuests)) {
		n, err := strconv.ParseUint(text, 10, 31)
		switch guest := id.VM(n); {
		case err != nil:
			p.warn("ignore invalid vmid '%s' in pool '%s'", text, name)
		case p.poolOf[guest] != "":
			p.warn("ignore duplicate vmid '%s' in pool '%s'", text, name)
		default:
			pool.Guests = append(pool.Guests, guest)
			p.poolOf[guest] = name
		}
	}
	for _, text := range schema.SplitList(l.word(4)) {
		if !valid("pve-storage-id", text) {
			p.warn("ignore invalid storage '%s' in pool '%s'", text, name)
		} else if !slices.Contains(pool.Storages, id.Storage(text)) {
			pool.Storages = append(pool.Storages, id.Storage(text))
		}
	}
}

// nestPools tells each pool what pools are right below it: name/…
func (p *Policy) nestPools() {
	for _, name := range slices.Sorted(maps.Keys(p.Pools)) {
		if at := strings.LastIndexByte(name, '/'); at > 0 && p.Pools[name[:at]] != nil {
			above := p.Pools[name[:at]]
			above.Pools = append(above.Pools, name)
		}
	}
}

func (p *Policy) readRole(l line) {
	name := l.word(1)
	if !valid("pve-roleid", name) {
		p.warn("ignore role '%s' - invalid characters in role name", name)
		return
	}
	if _, ok := builtinRoles()[name]; ok {
		p.warn("ignore role '%s' - it is always there, as it is", name)
		return
	}
	privileges := p.Roles[name]
	for _, privilege := range schema.SplitList(l.word(2)) {
		if _, ok := slices.BinarySearch(p.Roles[Administrator], privilege); !ok {
			p.warn("ignore invalid privilege '%s'", privilege)
			continue
		}
		privileges = append(privileges, privilege)
	}
	slices.Sort(privileges)
	p.Roles[name] = slices.Compact(privileges)
}

func (p *Policy) readGrants(l line) {
	path, ok := normal(l.word(rightsPath))
	if !ok {
		p.warn("ignore invalid path in acl '%s'", l.word(rightsPath))
		return
	}
	for _, role := range schema.SplitList(l.word(4)) {
		if _, ok := p.Roles[role]; !ok {
			p.warn("ignore invalid acl role '%s'", role)
			continue
		}
		for _, member := range schema.SplitList(l.word(3)) {
			why, keep := p.notMember(member)
			if why != "" {
				p.warn("%s '%s'", why, member)
			}
			if keep {
				p.grant(path, member, role, truth(l.word(1)))
			}
		}
	}
}

// notMember says why nobody has rights under a name, empty where somebody has. Those of
// users and groups that there are not are kept: they may come back with their realm.
func (p *Policy) notMember(member string) (why string, keep bool) {
	if group, ok := strings.CutPrefix(member, "@"); ok {
		if _, ok := p.Groups[group]; !ok {
			return "ignore invalid acl group", valid("pve-groupid", group)
		}
		return "", true
	}
	if _, _, ok := splitToken(member); ok {
		if _, t := p.token(member); t == nil {
			return "ignore invalid acl token", false
		}
		return "", true
	}
	switch {
	case !valid("pve-userid", member):
		return "invalid user/group", false
	case p.Users[member] == nil && member != Root:
		return "ignore invalid acl member", true
	}
	return "", true
}

func (p *Policy) grant(path, member, role string, propagate bool) {
	if p.acl[path] == nil {
		p.acl[path] = map[string]map[string]bool{}
	}
	if p.acl[path][member] == nil {
		p.acl[path][member] = map[string]bool{}
	}
	p.acl[path][member][role] = propagate
}

// token finds a token by its full id. There is an owner where user is the id of a
// token, and no token where the owner has none of that name.
func (p *Policy) token(user string) (owner string, t *Token) {
	owner, name, ok := splitToken(user)
	if !ok {
		return "", nil
	}
	if u := p.Users[owner]; u != nil {
		if found, ok := u.Tokens[name]; ok {
			return owner, &found
		}
	}
	return owner, nil
}

// Grants lists all rights, sorted.
func (p *Policy) Grants() []Grant {
	var all []Grant
	for path, members := range p.acl {
		for member, roles := range members {
			for role, propagate := range roles {
				all = append(all, Grant{path, member, role, propagate})
			}
		}
	}
	slices.SortFunc(all, func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Member, b.Member), cmp.Compare(a.Role, b.Role))
	})
	return all
}
