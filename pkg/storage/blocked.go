package storage

// A BlockedError says which newer snapshots keep a volume from going back to an older
// one. Those of replication jobs can be removed for it.
type BlockedError struct {
	Text     string
	Blockers []string // the oldest first
}

// Error returns the text alone.
func (e *BlockedError) Error() string { return e.Text }
