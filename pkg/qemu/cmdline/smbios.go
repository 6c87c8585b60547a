package cmdline

import (
	"encoding/base64"
	"fmt"
)

// smbios sets what the firmware says of the computer.
func (c *composer) smbios() error {
	s := c.conf.SMBIOS1
	if s == nil {
		return nil
	}
	pairs := []string{"type", "1", "uuid", str(s.UUID, "")}
	for _, field := range []struct {
		name  string
		value *string
	}{
		{"manufacturer", s.Manufacturer}, {"product", s.Product}, {"version", s.Version}, {"serial", s.Serial}, {"sku", s.SKU}, {"family", s.Family},
	} {
		value := str(field.value, "")
		if flag(s.Base64, false) && value != "" {
			plain, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return fmt.Errorf("smbios1: %s: value is not base64", field.name)
			}
			value = string(plain)
		}
		pairs = append(pairs, field.name, value)
	}
	c.arg("-smbios", option("", pairs...))
	return nil
}

// generation lets Windows notice that it was rolled back or copied.
func (c *composer) generation() error {
	if guid := str(c.conf.VMGenID, ""); guid != "" && guid != "0" && guid != "1" {
		c.device("vmgenid", "guid", guid)
	}
	return nil
}
