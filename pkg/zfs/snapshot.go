package zfs

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// A Snapshot is a state of a dataset.
type Snapshot struct {
	Name    string // what comes after the @
	GUID    string
	Created time.Time
}

// Snapshots returns the states of a dataset, the oldest first.
func (t Tool) Snapshots(ctx context.Context, dataset string) ([]Snapshot, error) {
	text, err := t.look(ctx, "zfs", "list", "-Hp", "-d1", "-t", "snapshot", "-o", "name,guid,creation", "-s", "creation", dataset)
	if err != nil {
		return nil, err
	}
	return parseSnapshots(text), nil
}

func parseSnapshots(text string) []Snapshot {
	var all []Snapshot
	for _, row := range rows(text, 3) {
		_, name, ok := strings.Cut(row[0], "@")
		at, err := strconv.ParseInt(row[2], 10, 64)
		if !ok || name == "" || err != nil {
			continue
		}
		all = append(all, Snapshot{Name: name, GUID: row[1], Created: time.Unix(at, 0)})
	}
	return all
}

// Clones returns the datasets that were made of a snapshot of the dataset.
func (t Tool) Clones(ctx context.Context, dataset string) ([]string, error) {
	text, err := t.look(ctx, "zfs", "list", "-H", "-d1", "-t", "snapshot", "-o", "clones", dataset)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, word := range words(text) {
		if word != "-" {
			all = append(all, strings.Split(word, ",")...)
		}
	}
	return all, nil
}

// Snapshot keeps the state of a dataset.
func (t Tool) Snapshot(ctx context.Context, dataset, snap string) error {
	return t.change(ctx, "snapshot", dataset+"@"+snap)
}

// DestroySnapshot forgets a state.
func (t Tool) DestroySnapshot(ctx context.Context, dataset, snap string) error {
	return t.change(ctx, "destroy", dataset+"@"+snap)
}

// Rollback brings a dataset back to its newest state.
func (t Tool) Rollback(ctx context.Context, dataset, snap string) error {
	return t.change(ctx, "rollback", dataset+"@"+snap)
}

// RollbackOver brings a dataset back to a state and forgets the newer ones.
func (t Tool) RollbackOver(ctx context.Context, dataset, snap string) error {
	return t.change(ctx, "rollback", "-r", dataset+"@"+snap)
}

func contains(text, part string) bool { return strings.Contains(text, part) }
