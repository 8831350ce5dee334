package app

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as 512, 64KiB, 20MiB, 2GiB, or with the
// decimal units kB, MB, GB.
type Size int64

var sizeUnits = []struct { //nolint:gochecknoglobals // a constant table
	suffix string
	bytes  int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads a size. The empty text is 0.
func ParseSize(s string) (Size, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	if number == "" {
		return 0, nil
	}
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return Size(n * unit), nil
}

// String is the shortest exact form in binary units.
func (s Size) String() string {
	for _, u := range sizeUnits[:3] {
		if n := int64(s); n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Setting describes one field of [Config].
type Setting struct {
	Group   string // heading in the help
	Env     string // environment variable; never empty
	Flag    string // without dashes; empty: not settable by a flag
	YAML    string // key in the file; empty: not settable there
	Default string
	Help    string
	Bool    bool     // a flag without a value means true
	OneOf   []string // when given, the only allowed values

	index  int // of the field
	secret string
	check  string
	kind   reflect.Type
}

// Settings are all settings, in the order of the fields of [Config].
func Settings() []Setting {
	t := reflect.TypeFor[Config]()
	var list []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		s := Setting{
			Group: f.Tag.Get("group"), Env: f.Tag.Get("env"), Flag: f.Tag.Get("flag"), YAML: f.Tag.Get("yaml"),
			Default: f.Tag.Get("default"), Help: f.Tag.Get("help"), Bool: f.Type.Kind() == reflect.Bool,
			index: i, secret: f.Tag.Get("secret"), check: f.Tag.Get("check"), kind: f.Type,
		}
		if oneof := f.Tag.Get("oneof"); oneof != "" {
			s.OneOf = strings.Split(oneof, ",")
		}
		list = append(list, s)
	}
	return list
}

// set parses text and puts it into the setting's field of c. The second result
// says what would be allowed when it fails.
func (s *Setting) set(c *Config, text string) (ok bool, allowed string) {
	if text == "" && s.Default != "" {
		return false, "any value but the empty one"
	}
	v, allowed, ok := s.parse(text)
	if !ok {
		return false, allowed
	}
	if len(s.OneOf) > 0 && !slices.Contains(s.OneOf, text) {
		return false, "one of " + strings.Join(s.OneOf, ", ")
	}
	if allowed, ok := checkValue(s.check, text, v); !ok {
		return false, allowed
	}
	reflect.ValueOf(c).Elem().Field(s.index).Set(reflect.ValueOf(v))
	return true, ""
}

// parse turns text into a value of the field's type.
func (s *Setting) parse(text string) (v any, allowed string, ok bool) {
	var err error
	switch s.kind {
	case reflect.TypeFor[string]():
		return text, "", true
	case reflect.TypeFor[bool]():
		v, err = strconv.ParseBool(text)
		allowed = "true or false"
	case reflect.TypeFor[int]():
		v, err = strconv.Atoi(text)
		allowed = "a whole number"
	case reflect.TypeFor[Size]():
		v, err = ParseSize(text)
		allowed = "a number of bytes such as 512KiB, 20MiB or 2GiB"
	case reflect.TypeFor[time.Duration]():
		v, err = time.ParseDuration(text)
		allowed = "a duration such as 30s, 10m or 24h"
	case reflect.TypeFor[[]string]():
		return splitList(text), "", true
	case reflect.TypeFor[[]netip.Prefix]():
		v, err = parsePrefixes(text)
		allowed = "networks such as 10.0.0.0/8 or single addresses, separated by commas"
	default:
		panic("setting " + s.Env + " has a type that cannot be parsed: " + s.kind.String())
	}
	return v, allowed, err == nil
}

func splitList(text string) []string {
	list := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func parsePrefixes(text string) ([]netip.Prefix, error) {
	list := []netip.Prefix{}
	for _, part := range splitList(text) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			a, errAddr := netip.ParseAddr(part)
			if errAddr != nil {
				return nil, err
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// text is the field's value as it would be written, secrets included.
func (s *Setting) text(c *Config) string {
	switch v := reflect.ValueOf(c).Elem().Field(s.index).Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	case []netip.Prefix:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = p.String()
		}
		return strings.Join(parts, ",")
	case Size:
		if v == 0 && s.Default == "" {
			return ""
		}
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}

// shown is text as people may see it.
func (s *Setting) shown(text string) string {
	switch {
	case text == "":
		return text
	case s.secret == "value":
		return "********"
	case s.secret == "url":
		return maskURL(text)
	}
	return text
}

// maskURL hides a password in a URL, in its user part or its query. What does
// not parse is hidden whole: the password may be what is wrong with it.
func maskURL(text string) string {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok && !strings.Contains(path, "@") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" && strings.Contains(u.Opaque, "@") || u.Scheme == "" {
		return "********"
	}
	if q := u.Query(); u.RawQuery != "" {
		for name := range q {
			if lower := strings.ToLower(name); strings.Contains(lower, "pass") || strings.Contains(lower, "key") || strings.Contains(lower, "token") || strings.Contains(lower, "secret") {
				q.Set(name, "********")
			}
		}
		u.RawQuery = strings.ReplaceAll(q.Encode(), "%2A", "*")
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "********")
		}
	}
	return strings.ReplaceAll(u.String(), "%2A", "*")
}
