package nfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// An Export is a folder that a server offers.
type Export struct {
	Path    string `pve:"path" doc:"The exported path."`
	Options string `pve:"options" doc:"NFS export options."`
}

// scanPatience is how long a server may take to list what it has.
const scanPatience = 10 * time.Second

// Scan lists what a server exports, in the order of the paths. Servers that speak
// version 4 alone tell nothing.
func Scan(ctx context.Context, r run.Runner, server string) ([]Export, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, scanPatience, fmt.Errorf("no answer in %s", scanPatience))
	defer cancel()
	if _, err := (&net.Resolver{}).LookupHost(ctx, server); err != nil {
		return nil, fmt.Errorf("unable to resolve address for server '%s'", server)
	}
	out, err := run.OutputOf(ctx, r, run.Cmd{
		Path: "/sbin/showmount", Args: []string{"--no-headers", "--exports", server}, Env: []string{"LC_ALL=C"}, ReadOnly: true,
	})
	if err != nil {
		return nil, fmt.Errorf("scan of NFS server %s: %w", server, explain(err))
	}
	return parseExports(string(out)), nil
}

// explain says what can be done about a scan that failed.
func explain(err error) error {
	if failed, ok := errors.AsType[*run.Error](err); ok && strings.Contains(failed.Stderr, "Program not registered") {
		return fmt.Errorf("%w (a server of NFS version 4 alone does not list its exports)", err)
	}
	return err
}

// parseExports reads what showmount writes: a path and who may mount it on each line. A
// path can have spaces; who may mount it stands in the last column, which has none.
func parseExports(out string) []Export {
	var found []Export
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, " \t\r\n")
		cut := strings.LastIndexAny(line, " \t")
		if cut < 0 || !strings.HasPrefix(line, "/") {
			continue
		}
		e := Export{Path: strings.TrimRight(line[:cut], " \t"), Options: line[cut+1:]}
		same := func(f Export) bool { return f.Path == e.Path }
		if i := slices.IndexFunc(found, same); i >= 0 {
			found[i] = e
			continue
		}
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b Export) int { return cmp.Compare(a.Path, b.Path) })
	return found
}
