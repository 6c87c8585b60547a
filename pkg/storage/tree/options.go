package tree

import (
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Folders are the options of storages with a path: which folders are made.
type Folders struct {
	MakeDir        *bool `pve:"mkdir" default:"yes" doc:"Make the folder and those below when they are missing."`
	CreateBasePath *bool `pve:"create-base-path" default:"yes" doc:"Make the folder when it is missing."`
	CreateSubdirs  *bool `pve:"create-subdirs" default:"yes" doc:"Make the folders of the contents when they are missing."`
}

// Backups are the options of storages that can hold backups.
type Backups struct {
	PruneBackups *storage.Keep `pve:"prune-backups" format:"prune-backups" doc:"Which backups are kept."`
	MaxProtected *int          `pve:"max-protected-backups" min:"-1" doc:"How many protected backups a guest may have; -1 for any number."`
}

// Chaining is the option of storages that can keep snapshots as files of their own.
type Chaining struct {
	Chain *bool `pve:"snapshot-as-volume-chain" fixed:"1" default:"0" doc:"Keep snapshots of qcow2 images as files that these are backed by."`
}

// Chains tells whether the option is set.
func (c Chaining) Chains() bool { return is(c.Chain, false) }

// New returns a tree in a folder. dirs, as "images=disks,iso=discs", and preallocation may be nil.
func New(env storage.Env, folder string, f Folders, dirs, preallocation *string) Tree {
	mayMake := is(f.MakeDir, true)
	t := Tree{
		Env: env, Root: filepath.Clean(folder), ContentDirs: overrides(dirs),
		MakeBase: is(f.CreateBasePath, mayMake), MakeSubdirs: is(f.CreateSubdirs, mayMake),
	}
	if preallocation != nil {
		t.Preallocation = *preallocation
	}
	return t
}

func is(option *bool, otherwise bool) bool {
	if option == nil {
		return otherwise
	}
	return *option
}

// overrides reads a list like "images=disks,iso=discs".
func overrides(text *string) map[string]string {
	dirs := map[string]string{}
	if text != nil {
		for _, pair := range schema.SplitList(*text) {
			content, dir, _ := strings.Cut(pair, "=")
			dirs[content] = dir
		}
	}
	return dirs
}
