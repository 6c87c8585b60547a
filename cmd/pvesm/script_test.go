package main

import (
	"testing"

	"github.com/virtsmith/virtsmith/cmd/internal/script"
	"github.com/virtsmith/virtsmith/pkg/cli/pvesm"
)

func TestMain(m *testing.M) { script.Main(m, "pvesm", pvesm.Main) }

func TestScripts(t *testing.T) { script.Run(t) }

func TestEveryCommandHasAScript(t *testing.T) { script.Covers(t, pvesm.Tool()) }
