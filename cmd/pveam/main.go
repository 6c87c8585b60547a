// Command pveam finds container templates and brings them to storages.
package main

import (
	"os"

	"github.com/virtsmith/virtsmith/pkg/cli/pveam"
)

func main() { os.Exit(pveam.Main()) }
