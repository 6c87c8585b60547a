package access

import (
	"iter"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Permissions are the privileges somebody has on a path, each with whether it holds for
// what is below too.
type Permissions map[string]bool

// Has tells whether a privilege is among them.
func (s Permissions) Has(privilege string) bool {
	_, ok := s[privilege]
	return ok
}

// Permissions returns the privileges that a user, or a token, has on a path. Pools
// count: a right on /pool/NAME holds for the guests and storages of the pool. Whether
// the user may log in at all is not asked.
func (p *Policy) Permissions(user, path string) Permissions {
	if user == Root {
		return p.privilegesOf(map[string]bool{Administrator: true})
	}
	path, ok := normal(path)
	if !ok {
		return nil
	}
	owner, t := p.token(user)
	var owners Permissions
	if owner != "" {
		if t == nil {
			return nil
		}
		if owners = p.Permissions(owner, path); !t.Separated {
			return owners
		}
	}
	own := p.privilegesOf(p.withPools(p.RolesOn(user, path), user, path))
	if owner != "" {
		// What the owner does not have, a token of his cannot have.
		maps.DeleteFunc(own, func(privilege string, _ bool) bool { return !owners.Has(privilege) })
		for privilege := range own {
			own[privilege] = own[privilege] && owners[privilege]
		}
	}
	return own
}

func (p *Policy) privilegesOf(roles map[string]bool) Permissions {
	all := Permissions{}
	for role, propagate := range roles {
		for _, privilege := range p.Roles[role] {
			all[privilege] = all[privilege] || propagate
		}
	}
	return all
}

// RolesOn returns the roles that a user, or a token, has on a path, each with whether
// it holds for what is below too. Pools do not count. The nearest path above counts, and
// on one path what is given to the user himself more than what his groups have; NoAccess
// stands alone.
func (p *Policy) RolesOn(user, path string) map[string]bool {
	if user == Root {
		return map[string]bool{Administrator: true}
	}
	path, ok := normal(path)
	if !ok {
		return nil
	}
	owner, t := p.token(user)
	switch {
	case owner != "" && t == nil:
		return nil
	case owner != "" && !t.Separated:
		return p.RolesOn(owner, path)
	case owner == "" && p.Users[user] == nil:
		return nil // whatever is left of his rights
	}
	var roles map[string]bool
	for at := range upTo(path) {
		members := p.acl[at]
		if members == nil {
			continue
		}
		here := holding(nil, members[user], at == path)
		if here == nil {
			for _, group := range p.groupsOf[user] {
				here = holding(here, members["@"+group], at == path)
			}
		}
		if here != nil {
			roles = here
		}
	}
	if propagate, ok := roles[NoAccess]; ok {
		return map[string]bool{NoAccess: propagate}
	}
	return roles
}

// holding adds to roles those of given that hold: all on the path itself, else those that
// propagate.
func holding(roles, given map[string]bool, here bool) map[string]bool {
	for role, propagate := range given {
		if here || propagate {
			if roles == nil {
				roles = map[string]bool{}
			}
			roles[role] = roles[role] || propagate
		}
	}
	return roles
}

// withPools adds to the roles on a path those that the pool of what is there gives.
// NoAccess on either wins.
func (p *Policy) withPools(roles map[string]bool, user, path string) map[string]bool {
	if _, ok := roles[NoAccess]; ok {
		return roles
	}
	for _, pool := range p.poolsOf(path) {
		for role := range p.RolesOn(user, "/pool/"+pool) {
			if role == NoAccess {
				return map[string]bool{NoAccess: false}
			}
			if _, ok := roles[role]; !ok {
				if roles == nil {
					roles = map[string]bool{}
				}
				roles[role] = false
			}
		}
	}
	return roles
}

// poolsOf lists the pools that the guest or the storage of a path is in.
func (p *Policy) poolsOf(path string) (pools []string) {
	if text, ok := strings.CutPrefix(path, "/vms/"); ok {
		guest, err := strconv.ParseUint(text, 10, 31)
		if pool := p.poolOf[id.VM(guest)]; pool != "" && err == nil && id.VM(guest).String() == text {
			pools = append(pools, pool)
		}
	}
	if name, ok := strings.CutPrefix(path, "/storage/"); ok {
		for pool, p := range p.Pools {
			if slices.Contains(p.Storages, id.Storage(name)) {
				pools = append(pools, pool)
			}
		}
	}
	return pools
}

// Check fails unless the user has all of the privileges on a path.
func (p *Policy) Check(user, path string, privileges ...string) error {
	has := p.Permissions(user, path)
	for _, privilege := range privileges {
		if !has.Has(privilege) {
			return denied(path, privilege)
		}
	}
	return nil
}

// CheckAny fails unless the user has one of the privileges on a path.
func (p *Policy) CheckAny(user, path string, privileges ...string) error {
	if slices.ContainsFunc(privileges, p.Permissions(user, path).Has) {
		return nil
	}
	return denied(path, strings.Join(privileges, "|"))
}

// denied says it as clients know it.
func denied(path, what string) error {
	return &api.Error{Status: http.StatusForbidden, Message: "Permission check failed (" + path + ", " + what + ")"}
}

// A Subject is somebody of whom is asked what he may do: a user, or a token.
type Subject struct {
	Name   string
	Policy *Policy
}

// As asks for one user, or token.
func (p *Policy) As(name string) Subject { return Subject{name, p} }

// IsRoot tells whether it is root@pam himself, and no token of his.
func (s Subject) IsRoot() bool { return s.Name == Root }

// Check is [Policy.Check] for the subject.
func (s Subject) Check(path string, privileges ...string) error {
	return s.Policy.Check(s.Name, path, privileges...)
}

// CheckAny is [Policy.CheckAny] for the subject.
func (s Subject) CheckAny(path string, privileges ...string) error {
	return s.Policy.CheckAny(s.Name, path, privileges...)
}

var pathCharacters = pattern.New(`^[A-Za-z0-9._/-]+$`)

// normal brings a path into the form that the file has it in: /a/b. There is none for an
// empty one.
func normal(path string) (string, bool) {
	if !pathCharacters.MatchString(path) {
		return "", false
	}
	parts := strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
	return "/" + strings.Join(parts, "/"), true
}

// upTo yields the paths from / down to path.
func upTo(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield("/") || path == "/" {
			return
		}
		for i := 1; i < len(path); i++ {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
		yield(path)
	}
}
