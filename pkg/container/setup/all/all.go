// Package all lists the distributions that can be set up.
package all

import (
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/setup/alpine"
	"github.com/virtsmith/virtsmith/pkg/container/setup/archlinux"
	"github.com/virtsmith/virtsmith/pkg/container/setup/centos"
	"github.com/virtsmith/virtsmith/pkg/container/setup/debian"
	"github.com/virtsmith/virtsmith/pkg/container/setup/devuan"
	"github.com/virtsmith/virtsmith/pkg/container/setup/fedora"
	"github.com/virtsmith/virtsmith/pkg/container/setup/gentoo"
	"github.com/virtsmith/virtsmith/pkg/container/setup/nixos"
	"github.com/virtsmith/virtsmith/pkg/container/setup/opensuse"
	"github.com/virtsmith/virtsmith/pkg/container/setup/ubuntu"
)

// Distributions returns them in the order in which their files are looked for: Devuan has
// the file of Debian too, and Fedora that of Red Hat.
func Distributions() []setup.Distribution {
	return []setup.Distribution{
		devuan.Distribution(),
		debian.Distribution(),
		opensuse.Distribution(),
		fedora.Distribution(),
		centos.Distribution(),
		archlinux.Distribution(),
		alpine.Distribution(),
		gentoo.Distribution(),
		nixos.Distribution(),
		ubuntu.Distribution(),
	}
}
