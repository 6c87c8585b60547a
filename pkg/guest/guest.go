// Package guest is what virtual machines and containers have in common: the lock in a
// configuration, changes that wait for the next start, tags, and the steps in which a
// snapshot is taken, removed or gone back to.
//
// It works on the text of configurations, see [config.Doc], and knows no option that
// only one kind of guest has. What a kind does in its own way it brings along as the
// small interfaces here.
package guest

import (
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
)

// ErrDigest is the error of a change that is based on an outdated configuration.
var ErrDigest = errors.New("checksum mismatch (file change by other user?)")

// CheckDigest returns [ErrDigest] where a digest was given and doc has another.
func CheckDigest(doc *config.Doc, given *string) error {
	if given != nil && *given != "" && doc.Digest != *given {
		return ErrDigest
	}
	return nil
}

// A LockedError says that the configuration of a guest carries a lock.
type LockedError struct {
	Kind cluster.Kind
	Lock string
}

func (e *LockedError) Error() string { return fmt.Sprintf("%s is locked (%s)", e.Kind.Short(), e.Lock) }

// CheckLock returns a [*LockedError] where doc carries a lock.
func CheckLock(kind cluster.Kind, doc *config.Doc) error {
	if lock := doc.Values["lock"]; lock != "" {
		return &LockedError{Kind: kind, Lock: lock}
	}
	return nil
}

// RemoveLock takes the lock of the given name from doc; an empty name is any lock.
func RemoveLock(doc *config.Doc, lock string) error {
	switch held := doc.Values["lock"]; {
	case held == "" && lock != "":
		return fmt.Errorf("no lock found trying to remove '%s'  lock", lock)
	case lock != "" && held != lock:
		return fmt.Errorf("found lock '%s' trying to remove '%s' lock", held, lock)
	}
	delete(doc.Values, "lock")
	return nil
}

// CheckProtection refuses what, such as "can't remove VM 100", where the guest is
// protected.
func CheckProtection(doc *config.Doc, what string) error {
	if isOn(doc.Values["protection"]) {
		return fmt.Errorf("%s - protection mode enabled", what)
	}
	return nil
}

// IsTemplate tells whether the guest is only there to be cloned.
func IsTemplate(doc *config.Doc) bool { return isOn(doc.Values["template"]) }

func isOn(value string) bool { return value != "" && value != "0" }
