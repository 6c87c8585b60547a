package run

import (
	"errors"
	"strings"
)

// Quote writes arguments as one shell command line. Words of letters, digits and
// _!%+,-./:@^ stand as they are; all others are put in single quotes. A word with an
// equals sign is quoted as well, since the shell would take it for an assignment where
// it stands first.
func Quote(args ...string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		quoteWord(&b, arg)
	}
	return b.String()
}

func quoteWord(b *strings.Builder, word string) {
	if word == "" {
		b.WriteString("''")
		return
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		b.WriteString(word)
		return
	}
	// Runs of single quotes are told from the rest: one is written \', more as "''".
	for len(word) > 0 {
		quotes := len(word) - len(strings.TrimLeft(word, "'"))
		switch {
		case quotes == 1:
			b.WriteString(`\'`)
		case quotes > 1:
			b.WriteString(`"` + word[:quotes] + `"`)
		}
		word = word[quotes:]
		end := strings.IndexByte(word, '\'')
		if end < 0 {
			end = len(word)
		}
		if end > 0 {
			b.WriteString("'" + word[:end] + "'")
		}
		word = word[end:]
	}
}

func plain(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("_!%+,-./:@^", r)
}

// ErrUnbalanced is the error of a line whose quotes do not close.
var ErrUnbalanced = errors.New("unbalanced quotes")

// Split cuts a line into words as a shell does: blanks part them, single quotes keep
// everything, double quotes and a backslash take the next character as it is.
func Split(line string) ([]string, error) {
	words := []string{}
	var word strings.Builder
	inWord := false
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'':
			if i++; i == len(line) {
				return nil, ErrUnbalanced
			}
			word.WriteByte(line[i])
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, ErrUnbalanced
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
