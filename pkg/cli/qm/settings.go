package qm

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// secrets are the options that a file is given for, or that are asked for.
func secrets() map[string]cli.Mapping {
	return map[string]cli.Mapping{"cipassword": {Secret: true}, "sshkeys": {Encode: uriEncode}}
}

// uriEncode writes every byte that is not a letter, a digit or one of -_.!~*'() as %XX.
func uriEncode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.!~*'()", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// printText shows a text as it is.
func printText(o *cli.Output, result any, _ schema.Params) error {
	_, err := fmt.Fprintf(o, "%v\n", result)
	return err
}
