package cifs

// ParseShares reads what smbclient writes.
func ParseShares(out string) []Share { return parseShares(out) }
