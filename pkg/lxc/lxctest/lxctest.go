// Package lxctest gives the tests of commands, which stand outside of pkg, what tests inside
// have: containers of busybox, the bridges they are on, and an end for all of it.
package lxctest

import (
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// Require skips the test, with the reason, where containers cannot run.
func Require(t testing.TB) { t.Helper(); testct.Require(t) }

// Root makes the root of a node named pve1 with a storage "local" for everything, and ends what
// runs there when the test does.
func Root(t testing.TB) string { t.Helper(); return testct.Root(t) }

// ID returns the number of a guest that no other test of this machine uses.
func ID(t testing.TB) int { t.Helper(); return testct.ID(t) }

// Busybox makes a template archive, for the length of the test.
func Busybox(t testing.TB) string { t.Helper(); return testct.Busybox(t) }

// Bridge makes a bridge, for the length of the test, and returns its name and its network as
// "10.201.7."; the host is .1 there.
func Bridge(t testing.TB) (name, network string) { t.Helper(); return testct.Bridge(t) }

// Ends ends what runs from below a folder when the test does.
func Ends(t testing.TB, folder string) { t.Helper(); testct.Ends(t, folder) }

// Left tells what containers from below a folder have left on this machine.
func Left(folder string, ids ...int) []string { return testct.Left(folder, ids...) }
