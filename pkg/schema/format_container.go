package schema

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// containerFormat returns the check of a named format that only containers have.
func containerFormat(name string) func(string) error {
	switch name {
	case "pve-lxc-mp-string":
		return checkMountPath
	case "pve-lxc-dev-string":
		return checkDevicePath
	case "pve-ct-timezone":
		return checkContainerZone
	case "lxc-ip-with-ll-iface":
		return checkScopedAddress
	}
	return nil
}

// hasDots tells whether a path has a component "." or "..", after its first slash.
func hasDots(path string) bool { return Matches(`(?s:.*)/\.\.?(?s:/.*)?`, path) }

// checkMountPath refuses what could lead out of a root. Volume ids pass too.
func checkMountPath(text string) error {
	if hasDots(text) || strings.HasPrefix(text, "../") {
		return fmt.Errorf("%s contains illegal character sequences\n", text)
	}
	return nil
}

func checkDevicePath(text string) error {
	if !strings.HasPrefix(text, "/dev/") || hasDots(text) {
		return fmt.Errorf("%s is not a valid device path\n", text)
	}
	return nil
}

// checkContainerZone takes the zones that this machine knows, and "host".
func checkContainerZone(text string) error {
	if text == "host" {
		return nil
	}
	if _, err := time.LoadLocation(text); err != nil || text == "Local" || text == "" {
		return fmt.Errorf("invalid time zone '%s'\n", text)
	}
	return nil
}

// checkScopedAddress takes addresses, of the local link also with the interface.
func checkScopedAddress(text string) error {
	address, iface, scoped := strings.Cut(text, "%")
	if scoped && strings.HasPrefix(strings.ToLower(address), "fe80:") && CheckFormat("pve-iface", iface) == nil && CheckFormat("ipv6", address) == nil {
		return nil
	}
	if scoped || CheckFormat("ip", text) != nil {
		return errors.New("value does not look like a valid IP address")
	}
	return nil
}
