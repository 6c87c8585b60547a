package cifs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Share is one that a server offers.
type Share struct {
	Share       string `pve:"share" doc:"The cifs share name."`
	Description string `pve:"description" doc:"Descriptive text from server."`
}

// scanPatience is how long a server may take to list what it has.
const scanPatience = 20 * time.Second

// Scan lists the shares of a server that hold files, in the order of their names, as a
// user sees them. Without a user it asks as a guest; the password may be empty.
func Scan(ctx context.Context, r run.Runner, server, user, password, domain string) ([]Share, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, scanPatience, fmt.Errorf("no answer in %s", scanPatience))
	defer cancel()
	if _, err := (&net.Resolver{}).LookupHost(ctx, server); err != nil {
		return nil, fmt.Errorf("unable to resolve address for server '%s'", server)
	}
	args := []string{"-m", "smb3", "-d", "1", "-g", "-L", server} // 1: say why the server cannot be reached
	if domain != "" {
		args = append(args, "-W", domain)
	}
	env := []string{"LC_ALL=C"}
	if user != "" {
		args = append(args, "-U", user)
	}
	if password == "" {
		args = append(args, "-N")
	} else {
		// Arguments can be read by everybody, the environment by root and the user alone.
		env = append(env, "PASSWD="+password)
	}
	var said bytes.Buffer
	out, err := run.OutputOf(ctx, r, run.Cmd{Path: "/usr/bin/smbclient", Args: args, Env: env, Stderr: &said, ReadOnly: true})
	shares := parseShares(string(out))
	// What fails after the shares are told is only the search for a workgroup.
	if len(shares) > 0 {
		return shares, nil
	}
	if status := ntStatus.FindString(string(out) + said.String()); status != "" {
		return nil, fmt.Errorf("scan of SMB server %s: unexpected status: %s%s", server, status, meaning(status))
	}
	if err != nil {
		return nil, fmt.Errorf("scan of SMB server %s: %w", server, err)
	}
	return nil, nil
}

var ntStatus = pattern.New(`NT_STATUS_[A-Z0-9_]+`)

// meaning says what to do about a status.
func meaning(status string) string {
	switch status {
	case "NT_STATUS_LOGON_FAILURE", "NT_STATUS_ACCESS_DENIED":
		return " (the server refuses the user or the password)"
	case "NT_STATUS_IO_TIMEOUT", "NT_STATUS_HOST_UNREACHABLE", "NT_STATUS_CONNECTION_REFUSED":
		return " (is the server on, and can it be reached from here?)"
	}
	return ""
}

// parseShares reads what smbclient -g writes: lines as "Disk|name|description".
func parseShares(out string) []Share {
	var found []Share
	for line := range strings.Lines(out) {
		kind, rest, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "|")
		name, text, more := strings.Cut(rest, "|")
		if !ok || !more || kind != "Disk" || name == "" {
			continue
		}
		found = append(found, Share{Share: name, Description: text})
	}
	slices.SortFunc(found, func(a, b Share) int { return cmp.Compare(a.Share, b.Share) })
	return slices.CompactFunc(found, func(a, b Share) bool { return a.Share == b.Share })
}
