package appliance

import (
	"slices"
	"strings"
)

// What the values of a list may look like, as they become parts of paths and addresses. These
// are no regular expressions, as to make those takes longer than a command does that needs none.

const (
	maxWord = 128
	maxName = 240 // leaves room for the name that a file has while it is loaded
)

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || isDigit(r)
}

// isMade tells whether text begins with a letter or digit, and has nothing else behind it than
// those and the given signs.
func isMade(text, signs string, longest int) bool {
	if text == "" || len(text) > longest || !isAlphanumeric(rune(text[0])) {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune(signs, r) })
}

func isWord(text string) bool { return isMade(text, ".+_-", maxWord) }

func isVersion(text string) bool {
	return isMade(text, ".+:~-", maxWord) && isDigit(rune(text[0]))
}

// isTemplate tells whether text can be the name of a template's file.
func isTemplate(text string) bool {
	endings := []string{".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"}
	return isMade(text, ".+_~-", maxName) && slices.ContainsFunc(endings, func(end string) bool {
		return strings.HasSuffix(strings.ToLower(text), end)
	})
}

// isRelative tells whether text is a path that leads downwards, without what an address would
// have to encode.
func isRelative(text string) bool {
	for part := range strings.SplitSeq(text, "/") {
		if !isMade(part, ".+_~-", maxName) {
			return false
		}
	}
	return true
}

// hasScheme tells whether text begins as http: does.
func hasScheme(text string) bool {
	name, _, ok := strings.Cut(text, ":")
	return ok && isMade(name, "+.-", maxWord) && !isDigit(rune(name[0]))
}

// isPage tells whether text is the address of a page, which browsers are to show.
func isPage(text string) bool {
	rest, ok := strings.CutPrefix(text, "http")
	rest, ok2 := strings.CutPrefix(strings.TrimPrefix(rest, "s"), "://")
	return ok && ok2 && rest != "" && !strings.ContainsAny(rest, " \t\n\"'<>\\")
}

// isHost tells whether text can be the name of a host, and of a file.
func isHost(text string) bool { return isMade(text, ".-", 253) }
