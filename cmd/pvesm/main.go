// Command pvesm manages storages.
package main

import (
	"os"

	"github.com/virtsmith/virtsmith/pkg/cli/pvesm"
)

func main() { os.Exit(pvesm.Main()) }
