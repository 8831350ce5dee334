package models

import (
	"strings"
	"unicode/utf8"
)

// validName checks a short text that people give to things: its length in
// characters, valid UTF-8, no control characters (neither database takes NUL,
// and line breaks forge log lines).
func validName(param, s string, least, most int) error {
	n := utf8.RuneCountInString(s)
	switch {
	case n < least || least > 0 && strings.TrimSpace(s) == "":
		return Invalid(param, "'%s' must not be empty.", param)
	case n > most:
		return Invalid(param, "'%s' must have at most %d characters; got %d.", param, most, n)
	case !utf8.ValidString(s):
		return Invalid(param, "'%s' must be valid UTF-8.", param)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return Invalid(param, "'%s' must not contain control characters.", param)
	}
	return nil
}

// validNames checks a list of such texts: its length, and that none repeats.
func validNames(param string, list []string, most, mostChars int) error {
	if len(list) > most {
		return Invalid(param, "'%s' must have at most %d entries; got %d.", param, most, len(list))
	}
	seen := make(map[string]bool, len(list))
	for i, s := range list {
		at := indexed(param, i)
		if err := validName(at, s, 1, mostChars); err != nil {
			return err
		}
		if seen[s] {
			return Invalid(at, "'%s' repeats '%s'.", at, clip(s, 80))
		}
		seen[s] = true
	}
	return nil
}

// ValidModelName says whether a channel can serve a model of this name.
func ValidModelName(name string) bool { return validName("model", name, 1, maxModelName) == nil }
