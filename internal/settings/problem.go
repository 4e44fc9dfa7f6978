package settings

import (
	"strconv"
	"strings"
	"unicode"
)

// Problem is one thing that is wrong with a configuration.
//
//nolint:errname // it is named for what it is to the user
type Problem struct {
	Source       string // the file's name, the flag as --flag, or the environment variable; "" if nothing set it
	Line, Column int    // from 1, of the value within a file; 0 outside of files
	Path         string // the setting, such as sensors[1].address; "" is the whole document
	Value        string // as it was written; "" if there is none, or if it is secret
	Want         string // what was expected
}

// longestValue bounds the part of a value that a message repeats.
const longestValue = 80

// Error returns the problem as one line: where, which setting, its value, and
// what was expected.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column))
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	if p.Value != "" {
		b.WriteString(printable(p.Value) + ": ")
	}
	b.WriteString("want " + p.Want)
	return b.String()
}

func printable(value string) string {
	if runes := []rune(value); len(runes) > longestValue {
		value = string(runes[:longestValue]) + "…"
	}
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(value)
	}
	return value
}

// Problems is all that is wrong with a configuration, in the order of the file,
// then of the environment, then of the command line. As an error it is one
// line for each.
//
//nolint:errname // as Problem
type Problems []Problem

// Error returns the problems' lines.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}
