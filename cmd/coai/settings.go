package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coaidev/coai/internal/app"
)

// groupKey annotates the flags that are settings with their heading.
const groupKey = "coai-group"

// settingValue is a flag whose text the settings' loader judges, so that it
// can report all mistakes at once.
type settingValue struct {
	text string
	kind string
}

func (v *settingValue) String() string     { return v.text }
func (v *settingValue) Set(s string) error { v.text = s; return nil }
func (v *settingValue) Type() string       { return v.kind }

// addSettings gives a command the flags of the groups of settings; no group
// means all.
func addSettings(flags *pflag.FlagSet, groups ...string) {
	for _, s := range app.Settings() {
		if s.Flag == "" || len(groups) > 0 && !slices.Contains(groups, s.Group) {
			continue
		}
		help, kind := s.Help+" ["+s.Env+"]", "value"
		if len(s.OneOf) > 0 {
			help = strings.TrimSuffix(s.Help, ".") + ": " + strings.Join(s.OneOf, ", ") + ". [" + s.Env + "]"
		}
		f := &pflag.Flag{
			Name: s.Flag, Usage: help, DefValue: s.Default, Annotations: map[string][]string{groupKey: {s.Group}},
		}
		if s.Bool {
			kind, f.NoOptDefVal = "bool", "true"
			if s.Default == "true" {
				f.Usage += " (default true)"
			}
		}
		f.Value = &settingValue{kind: kind}
		flags.AddFlag(f)
	}
}

// givenSettings are the settings that the command line names.
func givenSettings(cmd *cobra.Command) map[string]string {
	given := map[string]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Annotations[groupKey] != nil {
			given[f.Name] = f.Value.String()
		}
	})
	return given
}

// usage prints how a command is called: its own flags first, then the settings
// under their headings.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n\nCommands:\n", cmd.CommandPath())
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-14s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	grouped := map[string]*pflag.FlagSet{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		set := own
		if group := f.Annotations[groupKey]; group != nil {
			if grouped[group[0]] == nil {
				grouped[group[0]] = pflag.NewFlagSet("", pflag.ContinueOnError)
				grouped[group[0]].SortFlags = false
			}
			set = grouped[group[0]]
		}
		set.AddFlag(f)
	})
	if own.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsagesWrapped(110))
	}
	writeSettings(&b, grouped)
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// writeSettings prints the settings of the groups that a command has, and below
// each the variables that have no flag.
func writeSettings(b *strings.Builder, grouped map[string]*pflag.FlagSet) {
	if len(grouped) == 0 {
		return
	}
	b.WriteString("\nSettings: a flag goes before the environment variable in brackets, that before the\n" +
		"YAML file (the same names in snake_case), that before the default.\n")
	last := ""
	var secrets []app.Setting
	flush := func() {
		for _, s := range secrets {
			fmt.Fprintf(b, "      %s (variable or file only)\n            %s\n", s.Env, s.Help)
		}
		secrets = nil
	}
	for _, s := range app.Settings() {
		set := grouped[s.Group]
		if set == nil {
			continue
		}
		if s.Group != last {
			flush()
			fmt.Fprintf(b, "\n%s:\n%s", s.Group, set.FlagUsagesWrapped(110))
			last = s.Group
		}
		if s.Flag == "" {
			secrets = append(secrets, s)
		}
	}
	flush()
}
