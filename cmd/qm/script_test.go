package main

import (
	"testing"

	"github.com/virtsmith/virtsmith/cmd/internal/script"
	"github.com/virtsmith/virtsmith/pkg/cli/qm"
)

func TestMain(m *testing.M) { script.Main(m, "qm", qm.Main) }

func TestScripts(t *testing.T) { script.Run(t) }

func TestEveryCommandHasAScript(t *testing.T) { script.Covers(t, qm.Tool()) }
