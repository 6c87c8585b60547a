package testnode

import (
	"os"
	"testing"
)

// TestNode is about the node itself: it runs inside.
func TestNode(t *testing.T) {
	if !Inside() {
		t.Skip("runs inside a node")
	}
	if _, err := os.Stat("/node-init"); err != nil {
		t.Fatal("this is no node")
	}
}
