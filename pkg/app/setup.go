package app

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	distributions "github.com/virtsmith/virtsmith/pkg/container/setup/all"
)

// setupEnv tells the set-up of distributions in containers what it has to know of the node.
func (a *App) setupEnv(ctx context.Context) setup.Env {
	resolver, _ := os.ReadFile("/etc/resolv.conf") // a node without one gives its containers none
	return setup.Env{
		Distributions: distributions.Distributions(), Resolver: string(resolver), Timezone: timezone(),
		Now: a.CTs.Now, Random: rand.Float64, UUID: uuid, Runner: a.CTs.Run, TempDir: filepath.Join(a.Root, "run"),
		Printf: func(format string, args ...any) { api.Printf(ctx, format, args...) },
		Warnf:  func(format string, args ...any) { api.Warnf(ctx, format, args...) },
	}
}

// timezone returns the name of the node's time zone, such as Europe/Berlin; empty where it
// is not known.
func timezone() string {
	const zones = "zoneinfo/"
	if to, err := os.Readlink("/etc/localtime"); err == nil {
		if _, zone, ok := strings.Cut(to, zones); ok {
			return zone
		}
	}
	text, _ := os.ReadFile("/etc/timezone")
	return strings.TrimSpace(string(text))
}
