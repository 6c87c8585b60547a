package nfs

// ParseExports reads what showmount writes.
func ParseExports(out string) []Export { return parseExports(out) }
