package graph

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coaidev/coai/graph/generated"
	"github.com/coaidev/coai/models"
)

const (
	toJSON    = mediaJSON + "; charset=utf-8"
	toGraphQL = mediaGraphQL + "; charset=utf-8"
)

func TestHTTPStatuses(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{MaxBody: 100_000}))
	good := `{"query":"{viewer{role}}"}`
	mutation := url.Values{"query": {`mutation{updateViewer(input:{name:"x"}){userErrors{code}}}`}}.Encode()

	for name, c := range map[string]struct {
		method, query, body, accept, contentType string
		status                                   int
		media, code                              string
		data                                     bool
	}{
		"executed, graphql-response+json":     {body: good, accept: mediaGraphQL, status: 200, media: toGraphQL, data: true},
		"executed, json":                      {body: good, accept: mediaJSON, status: 200, media: toJSON, data: true},
		"no preference":                       {body: good, accept: "*/*", status: 200, media: toJSON, data: true},
		"application/*":                       {body: good, accept: "application/*", status: 200, media: toJSON, data: true},
		"the first of equals":                 {body: good, accept: "text/html, " + mediaGraphQL + ", " + mediaJSON, status: 200, media: toGraphQL, data: true},
		"by quality":                          {body: good, accept: mediaGraphQL + ";q=0.5, " + mediaJSON + ";q=0.9", status: 200, media: toJSON, data: true},
		"urql's header":                       {body: good, accept: mediaGraphQL + ", application/graphql+json, " + mediaJSON + ", text/event-stream, multipart/mixed", status: 200, media: toGraphQL, data: true},
		"nothing acceptable":                  {body: good, accept: "text/html", status: 406, media: toJSON, code: models.CodeInvalidValue},
		"quality zero":                        {body: good, accept: mediaJSON + ";q=0", status: 406, media: toJSON, code: models.CodeInvalidValue},
		"charset in capitals":                 {body: good, contentType: "application/json; charset=UTF-8", status: 200, media: toJSON, data: true},
		"a form":                              {body: "query={viewer{role}}", contentType: "application/x-www-form-urlencoded", status: 415, media: toJSON, code: models.CodeUnsupportedMediaType},
		"plain text":                          {body: good, contentType: "text/plain", status: 415, media: toJSON, code: models.CodeUnsupportedMediaType},
		"multipart":                           {body: good, contentType: "multipart/form-data; boundary=x", status: 400, media: toJSON, code: models.CodeInvalidValue},
		"another charset":                     {body: good, contentType: "application/json; charset=utf-16", status: 415, media: toJSON, code: models.CodeUnsupportedMediaType},
		"no content type":                     {body: good, contentType: "-", status: 415, media: toJSON, code: models.CodeUnsupportedMediaType},
		"bad JSON":                            {body: `{"query":`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: models.CodeInvalidJSON},
		"bad JSON, json":                      {body: `{"query":`, accept: mediaJSON, status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"an array":                            {body: `[` + good + `]`, status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"a repeated key":                      {body: `{"query":"{viewer{role}}","variables":{"a":{"b":1,"b":2}}}`, status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"invalid UTF-8":                       {body: "{\"query\":\"{viewer{role}}\",\"variables\":{\"a\":\"\xff\"}}", status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"text after the object":               {body: good + good, status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"no query":                            {body: `{}`, status: 400, media: toJSON, code: models.CodeMissingParameter},
		"a query that is no string":           {body: `{"query":{}}`, status: 400, media: toJSON, code: models.CodeInvalidValue},
		"an operation name that is no string": {body: `{"query":"{viewer{role}}","operationName":1}`, status: 400, media: toJSON, code: models.CodeInvalidValue},
		"variables that are no object":        {body: `{"query":"{viewer{role}}","variables":[]}`, status: 400, media: toJSON, code: models.CodeInvalidValue},
		"extensions that are no object":       {body: `{"query":"{viewer{role}}","extensions":0}`, status: 400, media: toJSON, code: models.CodeInvalidValue},
		"nulls":                               {body: `{"query":"{viewer{role}}","operationName":null,"variables":null,"extensions":null}`, status: 200, media: toJSON, data: true},
		"unknown members":                     {body: `{"query":"{viewer{role}}","extensions":{"a":1},"more":true}`, status: 200, media: toJSON, data: true},
		"too large":                           {body: `{"query":"` + strings.Repeat(" ", 100_000) + `"}`, status: 413, media: toJSON, code: models.CodeRequestTooLarge},
		"a parse error":                       {body: `{"query":"{"}`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: "GRAPHQL_PARSE_FAILED"},
		"a parse error, json":                 {body: `{"query":"{"}`, accept: mediaJSON, status: 200, media: toJSON, code: "GRAPHQL_PARSE_FAILED"},
		"a validation error":                  {body: `{"query":"{nonesuch}"}`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"a validation error, json":            {body: `{"query":"{nonesuch}"}`, accept: mediaJSON, status: 200, media: toJSON, code: "GRAPHQL_VALIDATION_FAILED"},
		"an unknown operation":                {body: `{"query":"query A{viewer{role}}","operationName":"B"}`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"a missing variable":                  {body: `{"query":"query($id:ID!){node(id:$id){id}}"}`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"a variable of the wrong type, json":  {body: `{"query":"query($n:Int){models(first:$n){totalCount}}","variables":{"n":"x"}}`, accept: mediaJSON, status: 200, media: toJSON, code: "GRAPHQL_VALIDATION_FAILED"},
		"@defer is not there":                 {body: `{"query":"{...@defer{viewer{role}}}"}`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"a field that fails":                  {body: `{"query":"{model(name:\"nonesuch\"){id}}"}`, accept: mediaGraphQL, status: 200, media: toGraphQL, code: models.CodeModelNotFound, data: true},
		"a subscription without a stream":     {body: `{"query":"subscription{chatCompletion(input:{model:\"echo\",messages:[]}){id}}"}`, accept: mediaGraphQL, status: 400, media: toGraphQL, code: models.CodeInvalidValue},
		"GET":                                 {method: "GET", query: "query=%7Bviewer%7Brole%7D%7D", status: 200, media: toJSON, data: true},
		"GET with variables":                  {method: "GET", query: url.Values{"query": {`query A($n:Int){models(first:$n){totalCount}} query B{viewer{id}}`}, "operationName": {"A"}, "variables": {`{"n":1}`}, "extensions": {`{}`}}.Encode(), status: 200, media: toJSON, data: true},
		"GET without a query":                 {method: "GET", status: 400, media: toJSON, code: models.CodeMissingParameter},
		"GET with bad variables":              {method: "GET", query: "query=%7Bviewer%7Brole%7D%7D&variables=%7B", status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"GET with bad extensions":             {method: "GET", query: "query=%7Bviewer%7Brole%7D%7D&extensions=1", status: 400, media: toJSON, code: models.CodeInvalidJSON},
		"GET with a bad escape":               {method: "GET", query: "query=%zz", status: 400, media: toJSON, code: models.CodeInvalidValue},
		"GET of a mutation":                   {method: "GET", query: mutation, status: 405, media: toJSON, code: models.CodeMethodNotAllowed},
		"GET of a stream":                     {method: "GET", query: "query=%7Bviewer%7Brole%7D%7D", accept: mediaEvents, status: 406, media: toJSON, code: models.CodeInvalidValue},
		"PUT":                                 {method: "PUT", body: good, status: 405, media: toJSON, code: models.CodeMethodNotAllowed},
		"DELETE":                              {method: "DELETE", status: 405, media: toJSON, code: models.CodeMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Authorization", "Bearer " + adminKey, "Accept", c.accept}
			if c.accept == "" {
				headers = headers[:2]
			}
			if c.method == "" {
				c.method = http.MethodPost
			}
			switch c.contentType {
			case "":
				headers = append(headers, "Content-Type", "application/json")
			case "-":
			default:
				headers = append(headers, "Content-Type", c.contentType)
			}
			r := do(t, srv, c.method, "/graphql?"+c.query, c.body, headers...)
			if r.Status != c.status || r.Header.Get("Content-Type") != c.media || r.code() != c.code || r.HasData != c.data {
				t.Errorf("got %d %s, code %q, data %t; want %d %s, code %q, data %t\n%s", r.Status, r.Header.Get("Content-Type"),
					r.code(), r.HasData, c.status, c.media, c.code, c.data, r.Body)
			}
			if c.status == 405 {
				want := "GET, POST"
				if c.method == "GET" {
					want = "POST"
				}
				if allow := r.Header.Get("Allow"); allow != want {
					t.Errorf("Allow: %q, want %q", allow, want)
				}
			}
			for _, e := range r.Errors {
				if e.Extensions.RequestID != "req_test" || e.Extensions.Type == "" {
					t.Errorf("extensions lack the request id or the type: %s", r.Body)
				}
			}
		})
	}
}

func TestBodiesAreNeitherEchoedNorLogged(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	const secret = "sk-a-secret-of-the-client"
	for _, body := range []string{
		`{"secret":"` + secret, `{"query":"{viewer{id}}","` + secret + `":1,"` + secret + `":2}`, `["` + secret + `"]`,
	} {
		r := do(t, srv, "POST", "/", body, "Content-Type", "application/json", "Authorization", "Bearer "+adminKey)
		if r.Status != http.StatusBadRequest {
			t.Errorf("status %d", r.Status)
		}
		if strings.Contains(r.Body, secret) || strings.Contains(w.logs.String(), secret) {
			t.Errorf("the body shows up again in %s or %s", r.Body, w.logs)
		}
	}
}

func TestContentEncodingIsRefused(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	r := do(t, srv, "POST", "/", "{}", "Content-Type", "application/json", "Content-Encoding", "gzip")
	if r.Status != http.StatusUnsupportedMediaType {
		t.Errorf("status %d", r.Status)
	}
}

func TestAnnouncedLengthIsRefusedUnread(t *testing.T) {
	w := newWorld(t)
	h := w.handler(HandlerConfig{MaxBody: 10})
	srv := w.serve(h)
	r := do(t, srv, "POST", "/", strings.Repeat(" ", 11), "Content-Type", "application/json")
	if r.Status != http.StatusRequestEntityTooLarge || r.code() != models.CodeRequestTooLarge {
		t.Errorf("got %d %s", r.Status, r.Body)
	}
}

func TestPanicInResolverIsMasked(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, query: panicking{w.resolver.Query()}}))
	r := post(t, srv, adminKey, `{plans{id} models{totalCount}}`, nil)
	if r.Status != http.StatusOK || r.code() != models.CodeInternal || r.Errors[0].Extensions.Type != "internal_server_error" {
		t.Errorf("got %d %s", r.Status, r.Body)
	}
	data := struct {
		Plans  any
		Models struct{ TotalCount int }
	}{}
	if err := json.Unmarshal(r.Data, &data); err != nil || data.Plans != nil || data.Models.TotalCount == 0 {
		t.Errorf("the sibling did not survive: %s (%v)", r.Data, err)
	}
	if strings.Contains(r.Body, "kaboom") {
		t.Errorf("the panic reached the client: %s", r.Body)
	}
	if log := w.logs.String(); !strings.Contains(log, "kaboom") || !strings.Contains(log, "transport_http_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", log)
	}
}

type panicking struct{ generated.QueryResolver }

func (panicking) Plans(context.Context) ([]*models.Plan, error) { panic("kaboom") }

func TestUnknownErrorIsMaskedAndLogged(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, query: broken{w.resolver.Query()}}))
	r := post(t, srv, adminKey, `{plans{id}}`, nil)
	if r.code() != models.CodeInternal || strings.Contains(r.Body, "secret") {
		t.Errorf("got %s", r.Body)
	}
	if !strings.Contains(w.logs.String(), "secret table is gone") {
		t.Errorf("not in the log: %s", w.logs)
	}
}

type broken struct{ generated.QueryResolver }

func (broken) Plans(context.Context) ([]*models.Plan, error) { return nil, errSecret }

func TestAnonymousCallers(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	for name, c := range map[string]struct{ query, code string }{
		"resolvers ask for a key":      {`{viewer{id}}`, models.CodeMissingAPIKey},
		"introspection is off":         {`{__schema{types{name}}}`, models.CodeMissingAPIKey},
		"introspection of a type too":  {`{__type(name:"User"){name}}`, models.CodeMissingAPIKey},
		"no suggestions of fields":     {`{viewr{id}}`, "GRAPHQL_VALIDATION_FAILED"},
		"no suggestions of arguments":  {`{node(idd:"x",id:"y"){id}}`, "GRAPHQL_VALIDATION_FAILED"},
		"no suggestions of types":      {`{node(id:"x"){... on Usr{id}}}`, "GRAPHQL_VALIDATION_FAILED"},
		"no suggestions of enum names": {`{apiKeys(order:ASCC){totalCount}}`, "GRAPHQL_VALIDATION_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(t, srv, "", c.query, nil)
			if r.code() != c.code || strings.Contains(r.Body, "Did you mean") {
				t.Errorf("got %s", r.Body)
			}
		})
	}
	if r := post(t, srv, "", `{__typename}`, nil); string(r.Data) != `{"__typename":"Query"}` {
		t.Errorf("got %s", r.Body)
	}
	if r := post(t, srv, adminKey, `{viewr{id}}`, nil); !strings.Contains(r.Body, "Did you mean") {
		t.Errorf("a signed-in caller gets no suggestion: %s", r.Body)
	}
}

func TestRevokedKeyIsRefusedBeforeExecution(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	r := post(t, srv, "sk-coai-nonesuch", `{viewer{id}}`, nil)
	if r.Status != http.StatusUnauthorized || r.code() != models.CodeInvalidAPIKey || r.HasData || r.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("got %d %s", r.Status, r.Body)
	}
}

func TestLongAnswersComeWhole(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	text := strings.Repeat("ä long tale ", 100_000)
	const query = `mutation($in:ChatCompletionInput!){createChatCompletion(input:$in){chatCompletion{choices{message{content}}}}}`
	in := map[string]any{"model": "echo", "messages": []any{map[string]any{"role": "USER", "content": map[string]any{"text": text}}}}
	r := post(t, srv, adminKey, query, map[string]any{"in": in})
	if !strings.Contains(r.Body, text) || len(r.Errors) > 0 {
		t.Errorf("%d of %d bytes came: %.200s", len(r.Body), len(text), r.Body)
	}
}

func TestSchemaIsServedAsWritten(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}).Schema())
	r := do(t, srv, "GET", "/schema.graphql", "")
	if !strings.Contains(r.Body, "CoAI's domain") || !strings.Contains(r.Body, "type ApiKey implements Node {") || strings.Contains(r.Body, "defer") {
		t.Errorf("not the schema: %.200s", r.Body)
	}
}

func TestIntrospection(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	got := as[struct {
		Schema struct {
			Types      []struct{ Name string }
			Directives []struct{ Name string }
		} `json:"__schema"`
	}](t, post(t, srv, adminKey, introspectionQuery, nil))
	names := map[string]bool{}
	for _, typ := range got.Schema.Types {
		names[typ.Name] = true
	}
	for _, d := range got.Schema.Directives {
		names["@"+d.Name] = true
	}
	if !names["ApiKey"] || !names["ChatCompletionChunk"] || !names["@oneOf"] || names["@defer"] {
		t.Errorf("wrong types: %v", names)
	}
}
