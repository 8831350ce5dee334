package app

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// fromYAML reads a file of the form "key: value". It walks the syntax tree
// rather than decoding, so that a mistake can name its line, and a number keeps
// the form in which it was written.
func fromYAML(settings []Setting, path string, data []byte) ([]given, []Mistake) {
	where := func(n ast.Node) string {
		if n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
			return fmt.Sprintf("%s:%d", filepath.Base(path), n.GetToken().Position.Line)
		}
		return filepath.Base(path)
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return nil, []Mistake{{"--config", path, first, "YAML of the form 'addr: 127.0.0.1:8080'"}}
	}
	var list []given
	var mistakes []Mistake
	seen := map[string]bool{}
	for _, doc := range file.Docs {
		entries, ok := mapping(doc.Body)
		if !ok {
			mistakes = append(mistakes, Mistake{"--config", where(doc.Body), "holds no mapping", "YAML of the form 'addr: 127.0.0.1:8080'"})
			continue
		}
		for _, entry := range entries {
			name := entry.Key.String()
			i := slices.IndexFunc(settings, func(s Setting) bool { return s.YAML != "" && s.YAML == name })
			if i < 0 {
				mistakes = append(mistakes, Mistake{clip(name), where(entry.Key), "is not a setting", "the keys that 'coai serve --help' lists" + suggest(name, yamlNames(settings))})
				continue
			}
			s := &settings[i]
			value, ok := scalar(entry.Value)
			switch {
			case seen[name]:
				mistakes = append(mistakes, Mistake{name, where(entry.Key), "is given twice", "each setting once"})
			case !ok:
				mistakes = append(mistakes, Mistake{name, where(entry.Key), "has a value that is nested", "a plain value, or a list of them"})
			case value != "":
				list = append(list, given{s, name, where(entry.Key), value})
			}
			seen[name] = true
		}
	}
	return list, mistakes
}

// mapping gives the entries of a document; an empty one has none.
func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return nil, true
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// scalar is a plain value as text; of a list, its values with commas between.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", true
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.SequenceNode:
		parts := make([]string, len(n.Values))
		for i, v := range n.Values {
			if _, nested := v.(*ast.SequenceNode); nested {
				return "", false
			}
			var ok bool
			if parts[i], ok = scalar(v); !ok {
				return "", false
			}
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

func yamlNames(settings []Setting) []string {
	var names []string
	for _, s := range settings {
		if s.YAML != "" {
			names = append(names, s.YAML)
		}
	}
	return names
}
