// Command pct manages containers.
package main

import (
	"os"

	"github.com/virtsmith/virtsmith/pkg/cli/pct"
)

func main() { os.Exit(pct.Main()) }
