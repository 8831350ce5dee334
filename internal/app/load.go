package app

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Sources are where [Load] takes settings from.
type Sources struct {
	Flags   map[string]string // by flag name, only those that were given
	Environ []string          // as os.Environ gives it
	File    string            // path of the YAML file; empty: COAI_CONFIG, else none
}

// Mistake is one setting that cannot be used.
type Mistake struct {
	Setting string // as its source spells it: --addr, COAI_ADDR, addr
	Source  string // flag, environment, or file:line
	Problem string // what is wrong, the bad value in it unless it is secret
	Allowed string // what would be right
}

func (m Mistake) String() string {
	return fmt.Sprintf("%s (%s): %s; allowed: %s", m.Setting, m.Source, m.Problem, m.Allowed)
}

// ConfigError holds all mistakes that were found at once.
type ConfigError struct{ Mistakes []Mistake }

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = "\n  - " + m.String()
	}
	return "the settings have mistakes:" + strings.Join(lines, "")
}

// given is a value in one of the sources.
type given struct {
	setting *Setting
	name    string // as the source spells it
	source  string
	value   string
}

// Load reads the settings. It fails with a [*ConfigError] that lists every
// mistake in every source, also those in values that a stronger source
// overrides.
func Load(src Sources) (*Config, error) {
	settings := Settings()
	c := &Config{origins: make(map[string]string, len(settings))}
	var mistakes []Mistake
	for i := range settings {
		s := &settings[i]
		c.origins[s.Env] = "default"
		if s.Default != "" {
			if ok, allowed := s.set(c, s.Default); !ok {
				panic("default of " + s.Env + " is not allowed: " + allowed)
			}
		}
	}

	env, warnings := fromEnviron(settings, src.Environ)
	c.warnings = warnings
	file := cmp.Or(src.File, lookup(src.Environ, "COAI_CONFIG"))
	var values []given
	if file != "" {
		var wrong []Mistake
		values, wrong = fromFile(settings, file)
		mistakes = append(mistakes, wrong...)
	}
	values = append(values, env...) // later ones win
	values = append(values, fromFlags(settings, src.Flags)...)

	for _, g := range values {
		if ok, allowed := g.setting.set(c, g.value); !ok {
			mistakes = append(mistakes, Mistake{g.name, g.source, strconv.Quote(clip(g.setting.shown(g.value))) + " is not usable", allowed})
			continue
		}
		c.origins[g.setting.Env] = g.source
	}
	if len(mistakes) > 0 {
		return nil, &ConfigError{mistakes}
	}
	c.hasGOGC, c.hasLimit = lookup(src.Environ, "GOGC") != "", lookup(src.Environ, "GOMEMLIMIT") != ""
	return c, nil
}

func fromFlags(settings []Setting, flags map[string]string) []given {
	var list []given
	for i := range settings {
		if value, ok := flags[settings[i].Flag]; ok && settings[i].Flag != "" {
			list = append(list, given{&settings[i], "--" + settings[i].Flag, "flag", value})
		}
	}
	return list
}

// fromEnviron picks the settings out of the environment. Empty variables count
// as absent, as compose files and shells like to leave them.
func fromEnviron(settings []Setting, environ []string) (list []given, warnings []string) {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Env == name })
		switch {
		case i >= 0 && value != "":
			list = append(list, given{&settings[i], name, "environment", value})
		case i < 0 && strings.HasPrefix(name, "COAI_") && name != "COAI_CONFIG":
			known := make([]string, len(settings))
			for i, s := range settings {
				known[i] = s.Env
			}
			warnings = append(warnings, "the environment variable "+clip(name)+" is not a setting"+suggest(name, known))
		}
	}
	return list, warnings
}

func fromFile(settings []Setting, path string) ([]given, []Mistake) {
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, []Mistake{{"--config", "file", err.Error(), "the path of a readable YAML file"}}
	}
	return fromYAML(settings, path, data)
}

// lookup is the last value of a variable, as the system resolves repeated ones.
func lookup(environ []string, name string) string {
	for _, entry := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// suggest names the known word that was probably meant.
func suggest(word string, known []string) string {
	best, distance := "", 4
	for _, k := range known {
		if d := levenshtein.ComputeDistance(word, k); k != "" && d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
