package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// CheckFormat checks text against a named format. The names and rules are those
// of the Proxmox API; a name ending in -list or -opt is checked as its word by
// the schema that carries it. An unknown name allows everything: formats that
// belong to one subject are declared by types that implement [Describer].
func CheckFormat(name, text string) error {
	if check := formatOf(name); check != nil {
		return check(text)
	}
	return nil
}

// formatOf returns the check of a named format, nil where there is none.
func formatOf(name string) func(string) error {
	switch name {
	case "ip", "ipv4", "ipv6", "CIDR", "CIDRv4", "CIDRv6", "ipv4mask", "pve-ipv4-config", "pve-ipv6-config", "address", "IPorCIDR":
		return addressFormat(name)
	case "pve-configid":
		return checkConfigID
	case "pve-vmid":
		return checkVMID
	case "pve-phys-bits":
		return matching(`host|0*([89]|[1-5]\d|6[0-4])`, "value must be an integer between 8 and 64 or 'host'")
	case "pve-node":
		return matching(`[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?`, "value does not look like a valid node name")
	case "dns-name":
		return matching(`([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?`, "value does not look like a valid DNS name")
	case "mac-addr":
		return checkMAC
	case "mac-prefix":
		return matching(`(?i:[a-f0-9][02468ace](:[a-f0-9]{2}){0,2}(:[a-f0-9]?)?)`, "value is not a valid unicast MAC address prefix")
	case "email":
		return matching(`[\w+\-~]+(\.[\w+\-~]+)*@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*`, "value does not look like a valid email address")
	case "email-or-username":
		return matching(`[\w+\-~]+(\.[\w+\-~]+)*(@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*)?`, "value does not look like a valid email address or user name")
	case "pve-bridge-id":
		return checkBridgeID
	case "pve-storage-id":
		return checkStorageID
	case "acme-plugin-id":
		return naming(`(?i:[a-z][a-z0-9\-_.]*[a-z0-9])`, "ACME plugin ID '%s' contains illegal characters")
	case "pve-volume-id":
		return checkVolumeID
	case "pve-volume-id-or-absolute-path":
		return orPath(checkVolumeID)
	case "pve-volume-id-or-qm-path":
		return checkDrivePath
	case "pve-iface":
		return naming(`(?i:[a-z][a-z0-9_]{1,20}([:\.]\d+)?)`, "invalid network interface name '%s'")
	case "pve-storage-content":
		return oneOf("invalid content type '%s'", "images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import")
	case "pve-storage-format":
		return oneOf("invalid format '%s'", "raw", "qcow2", "vmdk", "subvol")
	case "pve-tag":
		return matching(`(?i:[a-z0-9_][a-z0-9_\-\+\.]*)`, "invalid characters in tag")
	case "disk-size":
		return naming(`\d+(\.\d+)?([KMGT](iB)?)?`, "value does not look like a valid disk size: %s")
	case "timezone":
		return nil
	case "urlencoded":
		return matching(`[-%a-zA-Z0-9_.!~*'()]*`, "value is not URL-encoded")
	case "pve-groupid":
		return naming(`[A-Za-z0-9\.\-_]+`, "value '%s' does not look like a valid group name")
	case "pve-roleid":
		return naming(`[A-Za-z0-9\.\-_]+`, "invalid role name '%s'")
	case "pve-realm":
		return matching(`[A-Za-z][A-Za-z0-9\.\-_]+`, "value does not look like a valid realm")
	case "pve-userid":
		return naming(`[^\s:/]+@[A-Za-z][A-Za-z0-9\.\-_]+`, "value '%s' does not look like a valid user name")
	case "pve-tokenid":
		return naming(`[^\s:/]+@[A-Za-z][A-Za-z0-9\.\-_]+![A-Za-z][A-Za-z0-9\.\-_]+`, "value '%s' does not look like a valid token ID")
	case "pve-poolid":
		return naming(`[A-Za-z0-9.\-_]+(/[A-Za-z0-9.\-_]+){0,2}`, "value '%s' does not look like a valid pool name")
	case "pve-cpuset":
		return checkCPUSet
	case "pve-startup-order":
		return checkStartup
	case "pve-hotplug-features":
		return checkHotplug
	case "pve-day-of-week":
		return naming(`(mon|tue|wed|thu|fri|sat|sun)`, "value '%s' is not a day of the week")
	case "storage-pair":
		return pair(formatOf("pve-storage-id"))
	case "bridge-pair":
		return pair(formatOf("pve-bridge-id"))
	case "pve-dir-override":
		return checkOverride
	case "pve-storage-options":
		return naming(`\S+`, "value does not look like a valid storage option: %s")
	case "pve-storage-server":
		return orFormat("ip", "dns-name", "value does not look like a valid server name or IP address")
	case "pve-storage-portal-dns":
		return checkPortal
	case "pve-storage-path":
		return starting(`/[^;()]+`, "value does not look like a valid absolute path")
	case "pve-storage-path-in-property-string":
		return starting(`/[^;,=()]+`, "Value does not look like a valid absolute path. These symbols are currently not allowed in path: ;,=()\n")
	case "pve-storage-zfs-blocksize":
		return checkBlockSize
	case "pve-storage-vgname":
		return naming(`(?i:[a-z0-9][a-z0-9\-_\.]*[a-z0-9])`, "lvm name '%s' contains illegal characters")
	}
	return containerFormat(name)
}

func matching(pattern, fault string) func(string) error {
	return func(text string) error {
		if !Matches(pattern, text) {
			return errors.New(fault)
		}
		return nil
	}
}

func naming(pattern, fault string) func(string) error {
	return func(text string) error {
		if !Matches(pattern, text) {
			return fmt.Errorf(fault, text)
		}
		return nil
	}
}

func starting(pattern, fault string) func(string) error {
	return matching(pattern+`.*`, fault)
}

func oneOf(fault string, words ...string) func(string) error {
	return func(text string) error {
		for _, word := range words {
			if text == word {
				return nil
			}
		}
		return fmt.Errorf(fault, text)
	}
}

func orFormat(one, other, fault string) func(string) error {
	return func(text string) error {
		if CheckFormat(one, text) == nil || CheckFormat(other, text) == nil {
			return nil
		}
		return errors.New(fault)
	}
}

func orPath(check func(string) error) func(string) error {
	return func(text string) error {
		if strings.HasPrefix(text, "/") {
			return nil
		}
		return check(text)
	}
}

// pair checks one entry of a map from names here to names there.
func pair(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "1" {
			return nil
		}
		for part := range strings.SplitSeq(text, ":") {
			if err := check(part); err != nil {
				return err
			}
		}
		if strings.Count(text, ":") > 1 {
			return fmt.Errorf("map '%s' contains more than one ':'", text)
		}
		return nil
	}
}

func checkConfigID(text string) error {
	ok := len(text) > 1
	for i := 0; i < len(text) && ok; i++ {
		c := text[i] | 0x20
		letter := c >= 'a' && c <= 'z'
		ok = letter || i > 0 && (text[i] >= '0' && text[i] <= '9' || text[i] == '-' || text[i] == '_')
	}
	if !ok {
		return fmt.Errorf("invalid configuration ID '%s'", text)
	}
	return nil
}

func checkVMID(text string) error {
	ok := len(text) >= 3 && len(text) <= 9 && text[0] != '0' && strings.Trim(text, "0123456789") == ""
	if !ok {
		return errors.New("value does not look like a valid VM ID")
	}
	return nil
}

// The formats that configurations have most are looked at by hand: a list of
// thousands of guests checks each many times.

// checkPortal checks the address of a portal: a name or an address, with or without a port.
func checkPortal(text string) error {
	host, port, ok := text, "", true
	switch before, after, found := strings.Cut(text, "]"); {
	case strings.HasPrefix(text, "["):
		host, ok = before[1:], found
		if after != "" {
			port, ok = after[1:], after[0] == ':'
		}
	case strings.Count(text, ":") == 1:
		host, port, _ = strings.Cut(text, ":")
	}
	n, err := strconv.Atoi(port)
	if !ok || port != "" && (err != nil || n < 1 || n > 65535) || !isAddress("ip", host) && CheckFormat("dns-name", host) != nil {
		return errors.New("value does not look like a valid portal address")
	}
	return nil
}

// checkOverride checks a pair like iso=discs: a content and a folder inside the storage.
func checkOverride(text string) error {
	content, dir, ok := strings.Cut(text, "=")
	if !ok || CheckFormat("pve-storage-content", content) != nil || strings.Trim(dir, "/") == "" || slices.Contains(strings.Split(dir, "/"), "..") {
		return fmt.Errorf("invalid override '%s'", text)
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func checkBridgeID(text string) error {
	ok := text != ""
	for i := 0; i < len(text) && ok; i++ {
		c := text[i]
		ok = isLetter(c) || isDigit(c) || c == '-' || c == '_' || c == '.'
	}
	if !ok {
		return fmt.Errorf("invalid bridge ID '%s'", text)
	}
	return nil
}

func isStorageID(text string) bool {
	ok := len(text) > 1 && isLetter(text[0])
	for i := 1; i < len(text) && ok; i++ {
		c := text[i]
		ok = isLetter(c) || isDigit(c) || i < len(text)-1 && (c == '-' || c == '_' || c == '.')
	}
	return ok
}

func checkStorageID(text string) error {
	if !isStorageID(text) {
		return fmt.Errorf("storage ID '%s' contains illegal characters", text)
	}
	return nil
}

func checkMAC(text string) error {
	ok := len(text) == 17
	for i := 0; i < len(text) && ok; i++ {
		switch c := text[i]; {
		case i%3 == 2:
			ok = c == ':'
		case i == 1: // the lowest bit is for groups
			ok = strings.IndexByte("02468aceACE", c) >= 0
		default:
			ok = isDigit(c) || isLetter(c) && c|0x20 <= 'f'
		}
	}
	if !ok {
		return errors.New("value does not look like a valid unicast MAC address")
	}
	return nil
}

func checkVolumeID(text string) error {
	storeid, name, ok := strings.Cut(text, ":")
	if !ok || name == "" || !isStorageID(storeid) {
		return fmt.Errorf("unable to parse volume ID '%s'", text)
	}
	return nil
}

// checkDrivePath is what a drive of a VM may name: a volume, a device or file of
// the host, no medium, or the drive of the host.
func checkDrivePath(text string) error {
	if text == "none" || text == "cdrom" || strings.HasPrefix(text, "/") {
		return nil
	}
	return checkVolumeID(text)
}

func checkCPUSet(text string) error {
	if text == "" { // no CPUs at all is a set too
		return nil
	}
	bad := errors.New("unable to parse cpuset option")
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(from, 10, 31)
		if err != nil {
			return bad
		}
		if !isRange {
			continue
		}
		if last, err := strconv.ParseUint(to, 10, 31); err != nil || last < first {
			return bad
		}
	}
	return nil
}

func checkHotplug(text string) error {
	if text == "0" || text == "1" {
		return nil
	}
	for _, feature := range SplitList(text) {
		if !Matches(`network|disk|cpu|memory|usb|cloudinit`, feature) {
			return errors.New("unable to parse hotplug option")
		}
	}
	return nil
}

func checkStartup(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if !Matches(`(order=)?\d+|(up|down)=\d+`, strings.TrimSpace(part)) {
			return errors.New("unable to parse startup options")
		}
	}
	return nil
}

// addressFormat returns the check of a format that is about IP addresses.
func addressFormat(name string) func(string) error {
	faults := map[string]string{
		"ip": "an IP address", "ipv4": "an IPv4 address", "ipv6": "an IPv6 address", "CIDR": "a CIDR network",
		"CIDRv4": "an IPv4 network", "CIDRv6": "an IPv6 network", "ipv4mask": "an IP netmask",
		"pve-ipv4-config": "an ipv4 network configuration", "pve-ipv6-config": "an ipv6 network configuration",
		"address": "a valid address", "IPorCIDR": "an IP or CIDR",
	}
	return func(text string) error {
		if isAddress(name, text) {
			return nil
		}
		if name == "address" {
			return fmt.Errorf("value does not look like a valid address: %s", text)
		}
		_, what, _ := strings.Cut(faults[name], " ")
		return fmt.Errorf("value does not look like a valid %s", what)
	}
}

func isAddress(format, text string) bool {
	switch format {
	case "ip":
		a, err := netip.ParseAddr(text)
		return err == nil && a.Zone() == ""
	case "ipv4":
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is4()
	case "ipv6":
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is6() && a.Zone() == ""
	case "CIDR":
		return isAddress("CIDRv4", text) || isAddress("CIDRv6", text)
	case "CIDRv4":
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Addr().Is4() && p.Bits() >= 8
	case "CIDRv6":
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Addr().Is6() && p.Bits() >= 8
	case "IPorCIDR":
		_, err := netip.ParsePrefix(text)
		return err == nil || isAddress("ip", text)
	case "pve-ipv4-config":
		return text == "dhcp" || text == "manual" || isAddress("CIDRv4", text)
	case "pve-ipv6-config":
		return text == "auto" || text == "dhcp" || text == "manual" || isAddress("CIDRv6", text)
	case "address":
		return isAddress("ip", text) || CheckFormat("dns-name", text) == nil
	}
	a, err := netip.ParseAddr(text) // ipv4mask
	if err != nil || !a.Is4() {
		return false
	}
	b := a.As4()
	mask := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	return mask != 0 && ^mask&(^mask+1) == 0
}

// checkBlockSize checks the size of the blocks of a ZFS volume, as 16k.
func checkBlockSize(text string) error {
	digits := strings.TrimRight(text, "kKmM")
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || len(text)-len(digits) > 1 || digits[0] < '1' || digits[0] > '9' {
		return fmt.Errorf("invalid ZFS blocksize format '%s'. Use a positive number (no leading zeros) with an optional 'k' or 'm' suffix.", text)
	}
	switch strings.ToLower(text[len(digits):]) {
	case "k":
		n <<= 10
	case "m":
		n <<= 20
	}
	const least, most = 512, 16 << 20
	if n < least || n > most || n&(n-1) != 0 {
		return fmt.Errorf("value '%s' is not a valid ZFS blocksize. Must be a power of 2 between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m).", text)
	}
	return nil
}
