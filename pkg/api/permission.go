package api

// Permissions say who may call a method. The zero value is root@pam alone.
type Permissions struct {
	User      string // "all": whoever has logged in; "world": anybody
	Check     Expr   // what must hold beyond that
	Described bool   // the method makes further checks itself
}

// Expr is a condition on the caller's privileges in upstream's prefix notation:
// the word perm, and, or, userid-param, … and its operands.
type Expr []any

// Perm demands all of the privileges on path, in which variables stand for the
// parameters.
func Perm(path string, privileges ...string) Expr { return Expr{"perm", path, privileges} }

// AnyPerm demands one of the privileges on path.
func AnyPerm(path string, privileges ...string) Expr {
	return Expr{"perm", path, privileges, "any", 1}
}

// And demands all of the conditions.
func And(all ...Expr) Expr { return combine("and", all) }

// Or demands one of the conditions.
func Or(any ...Expr) Expr { return combine("or", any) }

func combine(word string, parts []Expr) Expr {
	e := Expr{word}
	for _, part := range parts {
		e = append(e, part)
	}
	return e
}
