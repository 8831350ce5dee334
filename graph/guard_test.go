package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"
)

// introspectionQuery is what graphql-js makes with all options on: the deepest
// document that tools send.
const introspectionQuery = `query IntrospectionQuery {
  __schema {
    description
    queryType { name kind }
    mutationType { name kind }
    subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description specifiedByURL isOneOf
  fields(includeDeprecated: true) {
    name description
    args(includeDeprecated: true) { ...InputValue }
    type { ...TypeRef }
    isDeprecated deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type {
  kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}`

func TestGuardLetsHonestDocumentsPass(t *testing.T) {
	for name, query := range map[string]string{
		"introspection": introspectionQuery,
		"dashboard": `query($after: String) {
			viewer { ...U usage { requestsToday costThisMonth { amount currency } } plan { requestsPerMinute } }
			keys: apiKeys(first: 50, after: $after) { edges { cursor node { ...K } } pageInfo { hasNextPage endCursor } totalCount }
			models { nodes { name pricing { prompt completion } } }
			plans { tier requestsPerDay }
		}
		fragment U on User { id email name }
		fragment K on ApiKey { id name display scopes }`,
		"eight repeats":    `{viewer{` + strings.Repeat("id ", maxRepeats) + `}}`,
		"twenty fields":    `{` + aliased("__typename", maxRootFields) + `}`,
		"ten operations":   operations(maxOperations),
		"fifteen levels":   nested(maxDepth),
		"thirty aliases":   `{viewer{` + aliased("id", maxAliases) + `}}`,
		"fifty directives": `{viewer{id` + strings.Repeat(" @include(if:true)", maxDirectives) + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := guard(query); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGuardRefusesHostileDocuments(t *testing.T) {
	for name, c := range map[string]struct{ query, says string }{
		"doubling fragments":       {doubling(27), "more than 8 times"},
		"more of them":             {doubling(60), "more than 8 times"},
		"doubling, unused":         {`{viewer{id}}` + doubling(27)[strings.Index(doubling(27), " fragment"):], "more than 8 times"},
		"doubling on new levels":   {repeated(2, 13), "fields, with fragments expanded"},
		"a cycle":                  {`{viewer{...a}} fragment a on User{...b} fragment b on User{...a}`, "contains itself"},
		"a cycle through fields":   {`{node(id:"x"){...a}} fragment a on User{plan{...a}}`, "contains itself"},
		"one field, repeated":      {`{` + strings.Repeat("viewer{id} ", 9) + `}`, "more than 8 times"},
		"repeated below":           {`{viewer{` + strings.Repeat("id ", 900) + `}}`, "more than 8 times"},
		"repeated in fragments":    {`{viewer{` + strings.Repeat("...a ", 9) + `}} fragment a on User{id}`, "more than 8 times"},
		"repeated inline":          {`{viewer{` + strings.Repeat("...{id} ", 9) + `}}`, "more than 8 times"},
		"repeated below fragments": {`{...a ...b} fragment a on Query{` + strings.Repeat("viewer{id} ", 5) + `} fragment b on Query{` + strings.Repeat("viewer{id} ", 5) + `}`, "more than 8 times"},
		"too deep":                 {nested(maxDepth + 1), "levels deep"},
		"deep by fragments":        {`{__type(name:"x"){...a}} ` + chain(8), "levels deep"},
		"very deep":                {nested(600), "levels deep"},
		"aliases":                  {`{viewer{` + aliased("id", maxAliases+1) + `}}`, "aliases"},
		"root fields":              {`{` + aliased("__typename", maxRootFields+1) + `}`, "root fields"},
		"root fields by fragment":  {`{...a ...b} fragment a on Query{` + aliased("__typename", 11) + `} fragment b on Query{` + `b0:__typename b1:__typename b2:__typename b3:__typename b4:__typename b5:__typename b6:__typename b7:__typename b8:__typename b9:__typename` + `}`, "root fields"},
		"operations":               {operations(maxOperations + 1), "operations"},
		"directives":               {`{viewer{id` + strings.Repeat(" @include(if:true)", maxDirectives+1) + `}}`, "directives"},
		"directives on operations": {`query` + strings.Repeat(" @a", maxDirectives+1) + `{viewer{id}}`, "directives"},
		"directives on variables":  {`query($a:Int` + strings.Repeat(" @a", maxDirectives+1) + `){viewer{id}}`, "directives"},
		"directives on fragments":  {`{...a} fragment a on Query` + strings.Repeat(" @a", maxDirectives+1) + `{viewer{id}}`, "directives"},
		"bytes":                    {`{viewer{id}}` + strings.Repeat(" ", maxDocumentBytes), "bytes"},
		"a long comment":           {`{viewer{id}} #` + strings.Repeat("x", maxDocumentBytes), "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := guard(c.query)
			if err == nil || !strings.Contains(err.Message, c.says) || err.Extensions["code"] != errcode.ValidationFailed {
				t.Errorf("got %v, want a refusal for %q", err, c.says)
			}
		})
	}
}

func TestGuardRefusesWhatItCannotRead(t *testing.T) {
	for name, c := range map[string]struct{ query, says string }{
		"tokens":      {`{viewer{id}}` + strings.Repeat("{", maxTokens), ""},
		"token limit": {`{` + strings.Repeat("a ", maxTokens) + `}`, "token limit"},
		"a list":      {`{node(id:` + strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + `){id}}`, ""},
		"nothing":     {`{`, "Expected Name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := guard(c.query)
			if err == nil || !strings.Contains(err.Message, c.says) || err.Extensions["code"] != errcode.ParseFailed {
				t.Errorf("got %v, want a parse error with %q", err, c.says)
			}
		})
	}
}

// What passes the guard must be cheap to validate and to execute.
func TestDocumentsAtTheLimitsAreCheap(t *testing.T) {
	w := newWorld(t)
	h := w.handler(HandlerConfig{})
	for name, query := range map[string]string{
		"doubling to the limit":     doubling(3),
		"many fragments":            manyFragments(245),
		"two repeats on all levels": repeated(2, 8),
		"eight repeats, thrice":     repeated(8, 3),
		"wide":                      `{__type(name:"User"){` + strings.Repeat("...{name kind}", 8) + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := guard(query); err != nil {
				t.Fatalf("the guard refused it: %v", err)
			}
			_, errs := h.parse(t.Context(), &request{query: query})
			if len(errs) > 0 {
				t.Errorf("it does not validate: %v", errs)
			}
		})
	}
}

func BenchmarkGuard(b *testing.B) {
	for name, query := range map[string]string{
		"introspection": introspectionQuery, "doubling": doubling(60), "at the limit": repeated(2, 8),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = guard(query)
			}
		})
	}
}

func FuzzGuard(f *testing.F) {
	f.Add(introspectionQuery)
	f.Add(doubling(5))
	f.Add(`{viewer{...a}} fragment a on User{...b} fragment b on User{...a}`)
	f.Add(`query A($a:[Int!]=[1] @a)@b{x:y(z:{a:$a})@include(if:true){... on B{c}}}`)
	f.Fuzz(func(t *testing.T, query string) {
		doc, err := guard(query)
		if err == nil && doc == nil {
			t.Error("neither a document nor an error")
		}
	})
}

func doubling(depth int) string {
	var b strings.Builder
	b.WriteString("{node(id:\"x\"){...f0}}")
	for i := range depth {
		fmt.Fprintf(&b, " fragment f%d on Node{...f%d ...f%d}", i, i+1, i+1)
	}
	fmt.Fprintf(&b, " fragment f%d on Node{id}", depth)
	return b.String()
}

func aliased(field string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d:%s ", i, field)
	}
	return b.String()
}

func operations(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "query q%d{viewer{id}} ", i)
	}
	return b.String()
}

func nested(levels int) string {
	return `{__type(name:"x"){` + strings.Repeat("ofType{", levels-2) + "name" + strings.Repeat("}", levels-2) + "}}"
}

func chain(n int) string {
	var b strings.Builder
	for i := range n {
		next := string(rune('a' + i + 1))
		if i == n-1 {
			next = "z"
		}
		fmt.Fprintf(&b, "fragment %c on __Type{ofType{ofType{...%s}}} ", 'a'+i, next)
	}
	return b.String() + "fragment z on __Type{name}"
}

func manyFragments(n int) string {
	var b strings.Builder
	b.WriteString(`{__type(name:"User"){...f0}}`)
	for i := range n - 1 {
		fmt.Fprintf(&b, " fragment f%d on __Type{...f%d}", i, i+1)
	}
	fmt.Fprintf(&b, " fragment f%d on __Type{name}", n-1)
	return b.String()
}

// repeated selects the same field n times on each of so many levels, by
// fragments, so that few tokens make many fields.
func repeated(n, levels int) string {
	var b strings.Builder
	b.WriteString(`{__type(name:"User"){...f0}}`)
	for i := range levels {
		fmt.Fprintf(&b, " fragment f%d on __Type{%s}", i, strings.Repeat(fmt.Sprintf("ofType{...f%d} ", i+1), n))
	}
	fmt.Fprintf(&b, " fragment f%d on __Type{name}", levels)
	return b.String()
}
