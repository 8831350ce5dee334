package rest

import (
	"bytes"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/coaidev/coai/graph"
)

// doc is a JSON object of the description.
type doc = map[string]any

// OpenAPI serves the description of /v1 in OpenAPI 3.1, made of the route table
// and the types that the routes read and write. Anybody may read it.
// https://spec.openapis.org/oas/v3.1.1
func OpenAPI(version string) http.Handler {
	made := sync.OnceValues(func() ([]byte, error) {
		return json.Marshal(describe(version), json.Deterministic(true))
	})
	began := time.Now()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			WriteError(w, r, methodNotAllowed(r.Method, "GET, HEAD"))
			return
		}
		text, err := made()
		if err != nil {
			WriteError(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		http.ServeContent(w, r, "", began, bytes.NewReader(text))
	})
}

func describe(version string) doc {
	s := &schemas{components: doc{}, types: map[string]reflect.Type{}, about: map[string]string{}}
	for name, text := range graph.Descriptions() {
		s.about[strings.ToLower(name)] = text
	}
	paths := doc{}
	used := map[string]bool{}
	table := operations()
	for _, rt := range routes() {
		path := strings.ReplaceAll(rt.pattern, "...}", "}")
		item, _ := paths[path].(doc)
		if item == nil {
			item = doc{}
			paths[path] = item
		}
		_, name, _ := strings.Cut(rt.field, ".")
		if used[name] {
			name += "_" + strings.ToLower(rt.method)
		}
		used[name] = true
		item[strings.ToLower(rt.method)] = s.operation(rt, name, table[rt.field])
	}
	s.of(typeOf[envelope](), false)
	return doc{
		"openapi": "3.1.0",
		"info": doc{
			"title": "CoAI", "version": version, "license": doc{"name": "Apache License 2.0", "identifier": "Apache-2.0"},
			"description": "The REST face of CoAI. It is OpenAI's API where OpenAI has one. The GraphQL face at `/graphql` does the same and more.",
		},
		"servers":  []any{doc{"url": "/"}},
		"security": []any{doc{"bearer": []any{}}, doc{"apiKey": []any{}}, doc{"xApiKey": []any{}}},
		"paths":    paths,
		"components": doc{
			"schemas": s.components, "parameters": commonParameters(), "headers": commonHeaders(),
			"securitySchemes": doc{
				"bearer":  doc{"type": "http", "scheme": "bearer", "description": "An API key."},
				"apiKey":  doc{"type": "apiKey", "in": "header", "name": "api-key", "description": "An API key, as Azure's clients send it."},
				"xApiKey": doc{"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key, as Anthropic's clients send it."},
			},
			"responses": doc{
				"Error":          errorResponse("An error.", ref("schemas", "Envelope")),
				"AnthropicError": errorResponse("An error in Anthropic's shape.", doc{"type": "object", "required": []string{"type", "error"}}),
			},
		},
	}
}

func errorResponse(description string, schema any) doc {
	return doc{
		"description": description,
		"content":     doc{"application/json": doc{"schema": schema}},
		"headers":     mergeDocs(headerRefs(), doc{"Retry-After": ref("headers", "Retry-After")}),
	}
}

func ref(kind, name string) doc { return doc{"$ref": "#/components/" + kind + "/" + name} }

func headerRefs() doc {
	out := doc{}
	for name := range commonHeaders() {
		if name != "Retry-After" {
			out[name] = ref("headers", name)
		}
	}
	return out
}

func mergeDocs(a, b doc) doc {
	for k, v := range b {
		a[k] = v
	}
	return a
}

func commonHeaders() doc {
	header := func(description, kind string) doc {
		return doc{"description": description, "schema": doc{"type": kind}}
	}
	return doc{
		"X-Request-Id":          header("The id of the request, for the log; a valid one that came is kept.", "string"),
		"X-RateLimit-Limit":     header("Requests in the window that is closest to running out.", "integer"),
		"X-RateLimit-Remaining": header("How many of them are left.", "integer"),
		"X-RateLimit-Reset":     header("When that window begins anew, in Unix seconds.", "integer"),
		"Retry-After":           header("How many seconds to wait before trying again.", "integer"),
	}
}

func commonParameters() doc {
	query := func(name, description string, schema doc) doc {
		return doc{"name": name, "in": "query", "description": description, "schema": schema}
	}
	return doc{
		"limit":  query("limit", "How many rows; default 20.", doc{"type": "integer", "minimum": 1, "maximum": 100}),
		"offset": query("offset", "How many rows to leave out.", doc{"type": "integer", "minimum": 0, "maximum": maxOffset}),
		"after":  query("after", "Rows after the one with this id.", doc{"type": "string"}),
		"before": query("before", "Rows before the one with this id.", doc{"type": "string"}),
		"order":  query("order", "By the time of creation; default `desc`.", doc{"type": "string", "enum": []string{"asc", "desc"}}),
		"idempotencyKey": doc{
			"name": "Idempotency-Key", "in": "header", "schema": doc{"type": "string", "minLength": 1, "maxLength": 255},
			"description": "Makes it safe to send the request again: for 24 hours its first answer is given again, with `Idempotent-Replayed: true`. " +
				"Another request under the key is a conflict. Event streams, answers of more than a mebibyte and errors that may pass are not kept.",
		},
	}
}

// operation describes a route.
func (s *schemas) operation(rt route, name string, op operation) doc {
	segments := strings.Split(strings.TrimPrefix(rt.pattern, "/v1/"), "/")
	about := s.about[strings.ToLower(rt.field)]
	summary, _, _ := strings.Cut(about, ". ")
	out := doc{
		"operationId": name, "tags": []string{segments[0]}, "summary": strings.TrimSuffix(strings.Join(strings.Fields(summary), " "), "."),
		"description": about, "x-graphql-field": rt.field,
	}
	var params []any
	for _, seg := range segments {
		if p, ok := strings.CutPrefix(seg, "{"); ok {
			p = strings.TrimSuffix(strings.TrimSuffix(p, "}"), "...")
			params = append(params, doc{"name": p, "in": "path", "required": true, "schema": doc{"type": "string"}})
		}
	}
	_, lists := op.response.(listed)
	if lists && op.pages {
		for _, p := range []string{"limit", "offset", "after", "before", "order"} {
			params = append(params, ref("parameters", p))
		}
	}
	for _, q := range op.query {
		params = append(params, q.doc())
	}
	if rt.method != http.MethodGet {
		params = append(params, ref("parameters", "idempotencyKey"))
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	if op.public {
		out["security"] = []any{}
	}
	if op.request != nil {
		out["requestBody"] = s.body(op)
	}
	out["responses"] = s.responses(rt, op)
	return out
}

func (s *schemas) body(op operation) doc {
	media := doc{"schema": s.input(op)}
	if op.example != "" {
		var example any
		if err := json.Unmarshal([]byte(op.example), &example); err == nil { // a test reads all examples
			media["example"] = example
		}
	}
	kind := "application/json"
	if op.form {
		kind = "multipart/form-data"
	}
	return doc{"required": !op.optional, "content": doc{kind: media}}
}

func (s *schemas) responses(rt route, op operation) doc {
	content := doc{}
	if op.response != nil {
		content["application/json"] = doc{"schema": s.output(op.response)}
	}
	for _, kind := range op.media {
		schema := doc{"type": "string"}
		if strings.HasPrefix(kind, "audio/") {
			schema = doc{"type": "string", "contentMediaType": kind}
		}
		content[kind] = doc{"schema": schema}
	}
	out := doc{"200": doc{"description": "The answer.", "content": content, "headers": headerRefs()}}
	if op.redirect {
		out = doc{"302": doc{"description": "Elsewhere, by `Location`.", "headers": headerRefs()}}
	}
	failures := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusServiceUnavailable}
	if rt.method != http.MethodGet {
		failures = append(failures, http.StatusConflict)
	}
	if op.request != nil {
		failures = append(failures, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	shape := "Error"
	if strings.HasPrefix(rt.pattern, messagesPath) {
		shape = "AnthropicError"
	}
	for _, status := range failures {
		out[strconv.Itoa(status)] = ref("responses", shape)
	}
	out["default"] = ref("responses", shape)
	return out
}
