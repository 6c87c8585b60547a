// Package config reads and writes the two dialects of Proxmox VE's configuration
// files: key/value files with snapshot sections, as guests have them, and section
// configs, as storage.cfg is one.
//
// Both keep values as text. What a value may be is the business of who owns the
// keys, given in as functions.
package config

import "github.com/virtsmith/virtsmith/pkg/schema"

// A Doc is the content of a guest's configuration file. Values are text as [Dialect.Check] keeps
// it; a description is plain text.
type Doc struct {
	Values    schema.Params            // what holds now
	Pending   schema.Params            // what will hold after the next start; the key "delete" lists what will be gone
	Snapshots map[string]schema.Params // by name
	Special   map[string]schema.Params // sections such as cloudinit, by the name after "special:"
	Digest    string                   // SHA-1 of the file, in hex; empty for a document that was never read
}
