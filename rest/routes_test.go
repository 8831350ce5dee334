package rest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gql "github.com/vektah/gqlparser/v2/ast"
	gqlparser "github.com/vektah/gqlparser/v2/parser"
)

// TestEveryRouteIsASchemaField: REST adds no ability to the product.
func TestEveryRouteIsASchemaField(t *testing.T) {
	src, err := os.ReadFile("../schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := gqlparser.ParseSchema(&gql.Source{Name: "schema.graphql", Input: string(src)})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, r := range routes() {
		typ, name, _ := strings.Cut(r.field, ".")
		def := doc.Definitions.ForName(typ)
		if def == nil || def.Fields.ForName(name) == nil {
			t.Errorf("%s %s maps onto %s, which the schema lacks", r.method, r.pattern, r.field)
		}
		// Browsers are sent from site to site by GET alone.
		visit := strings.HasPrefix(r.pattern, "/v1/auth/oidc/")
		if reads := typ == "Query"; reads != (r.method == http.MethodGet) && !visit {
			t.Errorf("%s %s maps onto %s", r.method, r.pattern, r.field)
		}
		if !strings.HasPrefix(r.pattern, "/v1/") || strings.HasSuffix(r.pattern, "/") {
			t.Errorf("the path %s", r.pattern)
		}
		// An update may have several methods on one path.
		if at, ok := seen[r.field]; ok && at != r.pattern {
			t.Errorf("two routes for %s", r.field)
		}
		seen[r.field] = r.pattern
	}
}

// TestNothingIsServedBesideTheTable: handlers are registered in one loop over it.
func TestNothingIsServedBesideTheTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && (sel.Sel.Name == "HandleFunc" || sel.Sel.Name == "Handle") {
				calls = append(calls, name)
			}
			return true
		})
	}
	if !slices.Equal(calls, []string{"handler.go", "handler.go"}) {
		t.Errorf("registrations in %v; want the loop over routes() and the fallback", calls)
	}
}

func TestUnknownPathsAndMethodsGetTheEnvelope(t *testing.T) {
	h := NewHandler(nil, Config{})
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/v1/nothing", 404, "unknown_endpoint", ""},
		{"POST", "/v1/fine_tuning/jobs", 404, "unknown_endpoint", ""},
		{"GET", "/v1", 404, "unknown_endpoint", ""},
		{"GET", "/v1/", 404, "unknown_endpoint", ""},
		{"GET", "/", 404, "unknown_endpoint", ""},
		{"GET", "/v1/models/", 404, "unknown_endpoint", ""},
		{"POST", "/v1/chat/completions/", 404, "unknown_endpoint", ""},
		{"POST", "/v1//chat/completions", 404, "unknown_endpoint", ""},
		{"POST", "/v1/chat/../chat/completions", 404, "unknown_endpoint", ""},
		{"GET", "/V1/models", 404, "unknown_endpoint", ""},
		{"GET", "/v1/api-keys/key_1/rotate/x", 404, "unknown_endpoint", ""},
		{"GET", "/v1/channels/a%00b", 404, "unknown_endpoint", ""},
		{"GET", "/v1/channels/a%0ab", 404, "unknown_endpoint", ""},
		{"GET", "/v1/channels/%ff", 404, "unknown_endpoint", ""},
		{"CONNECT", "/v1/models", 404, "unknown_endpoint", ""},
		{"GET", "/v1/chat/completions", 405, "method_not_allowed", "POST"},
		{"HEAD", "/v1/chat/completions", 405, "method_not_allowed", "POST"},
		{"OPTIONS", "/v1/chat/completions", 405, "method_not_allowed", "POST"},
		{"DELETE", "/v1/models", 405, "method_not_allowed", "POST, GET, HEAD"},
		{"POST", "/v1/models/a/b", 405, "method_not_allowed", "GET, HEAD, PATCH, DELETE, PUT"},
		{"PUT", "/v1/api-keys/key_1", 405, "method_not_allowed", "GET, HEAD, PATCH, DELETE"},
		{"GET", "/v1/api-keys/key_1/rotate", 405, "method_not_allowed", "POST"},
		{"BREW", "/v1/users/me", 405, "method_not_allowed", "GET, HEAD, PATCH, DELETE"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
			var body struct {
				Error struct{ Message, Type, Code string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%q: %v", w.Body, err)
			}
			if w.Code != c.status || body.Error.Code != c.code || w.Header().Get("Allow") != c.allow || body.Error.Message == "" {
				t.Errorf("got %d %+v, Allow %q", w.Code, body.Error, w.Header().Get("Allow"))
			}
		})
	}
}
