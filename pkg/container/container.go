// Package container is what a container is configured with: the options, the file they
// are kept in, and the lines for LXC that such a file may have beside them.
package container
