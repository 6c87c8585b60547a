package storage

import (
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Content is a kind of volume.
type Content string

// The contents. None stands for a storage that only serves others.
const (
	Images    Content = "images"
	Rootdir   Content = "rootdir"
	Templates Content = "vztmpl"
	ISO       Content = "iso"
	Backups   Content = "backup"
	Snippets  Content = "snippets"
	Imports   Content = "import"
	None      Content = "none"
)

// AllContents lists the contents that volumes have.
func AllContents() []Content {
	return []Content{Images, Rootdir, Templates, ISO, Backups, Snippets, Imports}
}

// ParseContents reads a list of contents.
func ParseContents(text string) ([]Content, error) {
	var list []Content
	for _, word := range schema.SplitList(text) {
		c := Content(word)
		if c != None && !slices.Contains(AllContents(), c) {
			return nil, fmt.Errorf("invalid content type '%s'", word)
		}
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list, nil
}

// holds names what a storage without a content does not support, in upstream's words.
func (c Content) holds() string {
	switch c {
	case Images:
		return "vm images"
	case Rootdir:
		return "container directories"
	case Templates:
		return "container templates"
	case Backups:
		return "backups"
	case ISO:
		return "iso images"
	}
	return "content type '" + string(c) + "'"
}
