package qm

import (
	"fmt"
	"io"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// printAgent shows an answer of the guest agent: text as it is, all else as JSON, and
// nothing where it has nothing to say.
func printAgent(o *cli.Output, result any, _ schema.Params) error {
	if reply, ok := result.(map[string]any); ok {
		if answer, wrapped := reply["result"]; wrapped {
			result = answer
		}
	}
	switch answer := result.(type) {
	case nil:
		return nil
	case map[string]any:
		if len(answer) == 0 {
			return nil
		}
		_, err := io.WriteString(o, term.EncodeJSONPretty(answer))
		return err
	case []any:
		_, err := io.WriteString(o, term.EncodeJSONPretty(answer))
		return err
	}
	text := strings.TrimSuffix(fmt.Sprint(result), "\n")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	_, err := fmt.Fprintln(o, text)
	return err
}

// printNothing is for answers that say no more than that it is done.
func printNothing(*cli.Output, any, schema.Params) error { return nil }
