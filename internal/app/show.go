package app

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table is the list of all settings in Markdown, for the README.
func (*Config) Table() string {
	var b strings.Builder
	b.WriteString("| Environment | Flag | YAML | Default | What it does |\n|---|---|---|---|---|\n")
	for _, s := range Settings() {
		flag := code(s.Flag)
		if s.Flag != "" {
			flag = "`--" + s.Flag + "`"
		}
		help := s.Help
		if len(s.OneOf) > 0 {
			help += " One of " + strings.Join(s.OneOf, ", ") + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Env, flag, code(s.YAML), code(s.Default), strings.ReplaceAll(help, "|", `\|`))
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// EffectiveSetting is a setting's value in use.
type EffectiveSetting struct {
	Name   string `json:"name"`
	Value  string `json:"value"` // secrets hidden
	Source string `json:"source"`
}

// EffectiveSettings are the values in use and where each comes from, secrets
// and passwords hidden.
func (c *Config) EffectiveSettings() []EffectiveSetting {
	var list []EffectiveSetting
	for _, s := range Settings() {
		text := s.text(c)
		if s.Env == "COAI_DATABASE_URL" {
			text = c.Database()
		}
		list = append(list, EffectiveSetting{Name: s.Env, Value: s.shown(text), Source: c.origins[s.Env]})
	}
	return list
}

// Effective is [Config.EffectiveSettings] as a table for people.
func (c *Config) Effective() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SETTING\tVALUE\tSOURCE")
	for _, s := range c.EffectiveSettings() {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Value, s.Source)
	}
	_ = w.Flush() // to memory, cannot fail
	return b.String()
}
