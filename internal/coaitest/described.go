package coaitest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Endpoint is a route of REST as /openapi.json describes it, so that tests of
// all routes know the new ones too.
type Endpoint struct {
	Method  string
	Path    string          // such as /v1/api-keys/{id}
	Field   string          // of the schema
	Example json.RawMessage // a JSON body; nil: none is described
	JSON    bool            // it reads a JSON body
	Form    bool            // it reads a form
	Query   string          // examples of what the query must have
	Public  bool            // it takes no key
}

// At is the path with its parameters replaced by the values, the last of which
// is used again where there are more parameters, and the query that it needs.
func (e Endpoint) At(values ...string) string {
	parts := strings.Split(e.Path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = values[0]
			values = values[min(1, len(values)-1):]
		}
	}
	if e.Query == "" {
		return strings.Join(parts, "/")
	}
	return strings.Join(parts, "/") + "?" + e.Query
}

// Endpoints are all routes, by path and method.
func (p *Product) Endpoints(t testing.TB) []Endpoint {
	t.Helper()
	var described struct {
		Paths map[string]map[string]struct {
			Field      string `json:"x-graphql-field"`
			Security   *[]any
			Parameters []struct {
				In, Name, Example string
				Required          bool
			}
			RequestBody *struct {
				Content map[string]struct{ Example json.RawMessage }
			}
		}
	}
	p.Do(http.MethodGet, "/openapi.json", "", nil).JSON(t, &described)
	var list []Endpoint
	for path, methods := range described.Paths {
		for method, op := range methods {
			e := Endpoint{Method: strings.ToUpper(method), Path: path, Field: op.Field, Public: op.Security != nil && len(*op.Security) == 0}
			if op.RequestBody != nil {
				var body struct{ Example json.RawMessage }
				body, e.JSON = op.RequestBody.Content["application/json"]
				e.Example = body.Example
				_, e.Form = op.RequestBody.Content["multipart/form-data"]
			}
			query := url.Values{}
			for _, param := range op.Parameters {
				if param.In == "query" && param.Required {
					query.Set(param.Name, param.Example)
				}
			}
			e.Query = query.Encode()
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Endpoint) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return list
}
