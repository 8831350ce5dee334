package graph

import (
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
)

// Limits of a document. They are checked before validation, whose cost grows
// with the square of some of them.
const (
	maxDocumentBytes = 64 << 10
	maxTokens        = 2000
	maxDepth         = 15 // the longest standard introspection query has 15
	maxAliases       = 30
	maxSelections    = 2000 // fields, spreads and inline fragments, with fragments expanded
	maxRepeats       = 8    // of one field in one selection, fragments expanded
	maxDirectives    = 50
	maxRootFields    = 20
	maxOperations    = 10
)

// guard parses a document and refuses one that is costlier than any honest
// client's. Its own cost is linear in the document: what a fragment adds is
// worked out once, however often it is spread.
func guard(query string) (*ast.QueryDocument, *gqlerror.Error) {
	if len(query) > maxDocumentBytes {
		return nil, refused("The document must have at most %d bytes; got %d.", maxDocumentBytes, len(query))
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: query}, maxTokens)
	if err != nil {
		e := gqlerror.WrapIfUnwrapped(err)
		errcode.Set(e, errcode.ParseFailed)
		return nil, e
	}
	if len(doc.Operations) > maxOperations {
		return nil, refused("The document must have at most %d operations; got %d.", maxOperations, len(doc.Operations))
	}
	m := &meter{fragments: make(map[string]*ast.FragmentDefinition, len(doc.Fragments)), known: make(map[string]*cost)}
	for _, f := range doc.Fragments {
		m.fragments[f.Name] = f
		m.directives += len(f.Directives)
	}
	for _, f := range doc.Fragments {
		m.fragment(f.Name)
	}
	for _, op := range doc.Operations {
		m.directives += len(op.Directives)
		for _, v := range op.VariableDefinitions {
			m.directives += len(v.Directives)
		}
		root := m.selections(op.SelectionSet)
		if root.fields > maxRootFields {
			m.refuse("An operation must have at most %d root fields.", maxRootFields)
		}
		// gqlparser lets these pass, and gqlgen fails in the middle of them.
		if op.Operation == ast.Subscription && (len(root.keys) > 1 || root.conditional) {
			m.refuse("A subscription must have exactly one root field, and no directive on it.")
		}
	}
	if m.directives > maxDirectives {
		m.refuse("The document must have at most %d directives; got %d.", maxDirectives, m.directives)
	}
	if m.aliases > maxAliases {
		m.refuse("The document must have at most %d aliases; got %d.", maxAliases, m.aliases)
	}
	return doc, m.err
}

// cost is what a set of selections comes to, with fragments expanded. Counts
// stop a little above their limits.
type cost struct {
	size   int            // selections on all levels
	depth  int            // levels of fields
	fields int            // fields on this level
	keys   map[string]int // how often each response key occurs on this level

	conditional bool // whether a directive stands on this level
}

type meter struct {
	fragments           map[string]*ast.FragmentDefinition
	known               map[string]*cost // nil while the fragment is being measured
	aliases, directives int              // as written
	err                 *gqlerror.Error  // the first limit that was passed
}

func (m *meter) selections(set ast.SelectionSet) *cost {
	total := &cost{keys: make(map[string]int)}
	for _, sel := range set {
		if m.err != nil {
			return total
		}
		switch sel := sel.(type) {
		case *ast.Field:
			m.mark(total, sel.Directives)
			if sel.Alias != sel.Name {
				m.aliases++
			}
			inner := m.selections(sel.SelectionSet)
			m.add(total, &cost{size: inner.size, depth: 1 + inner.depth, fields: 1, keys: map[string]int{sel.Alias: 1}})
		case *ast.InlineFragment:
			m.mark(total, sel.Directives)
			m.add(total, m.selections(sel.SelectionSet))
		case *ast.FragmentSpread:
			m.mark(total, sel.Directives)
			m.add(total, m.fragment(sel.Name))
		}
	}
	return total
}

func (m *meter) mark(level *cost, directives ast.DirectiveList) {
	m.directives += len(directives)
	level.conditional = level.conditional || len(directives) > 0
}

// add counts one selection, and what is below or inside it.
func (m *meter) add(total, sel *cost) {
	total.size += 1 + sel.size
	total.depth = max(total.depth, sel.depth)
	total.fields += sel.fields
	for key, n := range sel.keys {
		total.keys[key] += n
		if total.keys[key] > maxRepeats {
			m.refuse("A field must not be repeated more than %d times in one selection.", maxRepeats)
		}
	}
	total.conditional = total.conditional || sel.conditional
	if total.size > maxSelections {
		m.refuse("The document must select at most %d fields, with fragments expanded.", maxSelections)
	}
	if total.depth > maxDepth {
		m.refuse("The document must be at most %d levels deep.", maxDepth)
	}
}

func (m *meter) fragment(name string) *cost {
	if c, seen := m.known[name]; seen {
		if c == nil {
			m.refuse("The fragment '%s' contains itself.", name)
			return &cost{}
		}
		return c
	}
	def := m.fragments[name]
	if def == nil { // validation reports it
		return &cost{}
	}
	m.known[name] = nil
	c := m.selections(def.SelectionSet)
	m.known[name] = c
	return c
}

func (m *meter) refuse(format string, args ...any) {
	if m.err == nil {
		m.err = refused(format, args...)
	}
}

func refused(format string, args ...any) *gqlerror.Error {
	err := gqlerror.Errorf(format, args...)
	errcode.Set(err, errcode.ValidationFailed)
	return err
}
