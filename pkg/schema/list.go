package schema

import "strings"

// Join makes one text of the values of an array, or of an option given several
// times. [SplitArray] takes it apart again.
func Join(values []string) string { return strings.Join(values, "\x00") }

// SplitArray takes apart what [Join] made.
func SplitArray(text string) []string { return strings.Split(text, "\x00") }

// SplitList takes apart a string whose format is a list. Its words are separated
// by commas, semicolons, blanks or NUL; empty ones are left out.
func SplitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool {
		return r == ',' || r == ';' || r == 0 || r == ' ' || r == '\t' || r == '\n' || r == '\r'
	})
}
