// Command qm manages virtual machines.
package main

import (
	"os"

	"github.com/virtsmith/virtsmith/pkg/cli/qm"
)

func main() { os.Exit(qm.Main()) }
