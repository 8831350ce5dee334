package graph

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/coaidev/coai/graph/generated"
	"github.com/coaidev/coai/models"
)

func TestJSONVariablesKeepTheOrderOfTheirKeys(t *testing.T) {
	w := newWorld(t)
	seen := make(chan models.ChatCompletionInput, 1)
	root := stubRoot{Resolver: w.resolver, subscription: streamFunc(func(_ context.Context, in models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error) {
		seen <- in
		out := make(chan *models.ChatCompletionChunk)
		close(out)
		return out, nil
	})}
	srv := w.serve(w.handler(HandlerConfig{}, root))
	const params = `{"zeta":{"y":1,"b":2},"alpha":[{"d":1.50,"c":12345678901234567890}]}`
	for name, c := range map[string]struct{ query, variables string }{
		"in the input": {
			`subscription($in:ChatCompletionInput!){chatCompletion(input:$in){id}}`,
			`{"in":{"model":"echo","messages":[{"role":"USER","content":{"text":"hi"}}],"stop":"one","seed":12345678901234567,
			  "tools":[{"function":{"name":"f","parameters":` + params + `}}],"extra":` + params + `,"toolChoice":"auto","metadata":{"k":"v"}}}`,
		},
		"a variable inside a literal": {
			`subscription($p:JSON,$e:JSON,$c:JSON,$m:JSON){chatCompletion(input:{model:"echo",messages:[{role:USER,content:{text:"hi"}}],
				stop:["one"],seed:12345678901234567,tools:[{function:{name:"f",parameters:$p}}],extra:$e,toolChoice:$c,metadata:$m}){id}}`,
			`{"p":` + params + `,"e":` + params + `,"c":"auto","m":{"k":"v"}}`,
		},
		"a list for one tool": {
			`subscription($t:[ToolInput!],$e:JSON){chatCompletion(input:{model:"echo",messages:[{role:USER,content:{text:"hi"}}],
				stop:["one"],seed:12345678901234567,tools:$t,extra:$e,toolChoice:"auto",metadata:{k:"v"}}){id}}`,
			`{"t":{"function":{"name":"f","parameters":` + params + `}},"e":` + params + `}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			body := `{"query":` + quote(c.query) + `,"variables":` + c.variables + `}`
			r := do(t, srv, "POST", "/", body, "Content-Type", "application/json", "Accept", mediaEvents, "Authorization", "Bearer "+adminKey)
			select {
			case in := <-seen:
				if got := string(in.Tools[0].Function.Parameters); got != params {
					t.Errorf("parameters: %s", got)
				}
				if got := string(in.Extra); got != params {
					t.Errorf("extra: %s", got)
				}
				if string(in.ToolChoice) != `"auto"` || in.Metadata["k"] != "v" || !reflect.DeepEqual(in.Stop, models.StopSequences{"one"}) || *in.Seed != 12345678901234567 {
					t.Errorf("got %+v", in)
				}
			default:
				t.Fatalf("the resolver was not called: %s", r.Body)
			}
		})
	}
}

func TestVariablesThatTheirTypesDoNotAllow(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	complete := `mutation($in:ChatCompletionInput!){createChatCompletion(input:$in){userErrors{code}}}`
	input := func(message string) string { return `{"in":{"model":"echo","messages":[` + message + `]}}` }
	for name, c := range map[string]struct{ query, variables, says string }{
		"an enum in lower case":   {`query($o:OrderDirection){apiKeys(order:$o){totalCount}}`, `{"o":"asc"}`, "variable.o is not one of the values of the enum OrderDirection"},
		"an enum that is unknown": {`query($o:OrderDirection){apiKeys(order:$o){totalCount}}`, `{"o":"UP"}`, "UP is not a valid OrderDirection"},
		"an enum deep down":       {complete, input(`{"role":"user","content":{"text":"x"}}`), "variable.in.messages[0].role is not"},
		"both of a oneOf":         {complete, input(`{"role":"USER","content":{"text":"x","parts":[]}}`), "variable.in.messages[0].content must have exactly one field"},
		"none of a oneOf":         {complete, input(`{"role":"USER","content":{}}`), "content must have exactly one"},
		"a null in a oneOf":       {complete, input(`{"role":"USER","content":{"text":null}}`), "content must have exactly one"},
		"two kinds of a part":     {complete, input(`{"role":"USER","content":{"parts":[{"text":"x","refusal":"y"}]}}`), "parts[0] must have exactly one"},
		"an unknown field":        {complete, input(`{"role":"USER","contents":1}`), "unknown field"},
		"a wrong kind":            {complete, input(`"hello"`), "must be a ChatMessageInput"},
		"an absent field":         {complete, `{"in":{"messages":[]}}`, "must be defined"},
		"a null":                  {complete, `{"in":null}`, "cannot be null"},
		"a fraction for an Int":   {`query($n:Int){models(first:$n){totalCount}}`, `{"n":1.5}`, "cannot use value"},
	} {
		t.Run(name, func(t *testing.T) {
			r := do(t, srv, "POST", "/", `{"query":`+quote(c.query)+`,"variables":`+c.variables+`}`,
				"Content-Type", "application/json", "Accept", mediaGraphQL, "Authorization", "Bearer "+adminKey)
			if r.Status != 400 || r.code() != "GRAPHQL_VALIDATION_FAILED" || !strings.Contains(r.Errors[0].Message, c.says) || r.HasData {
				t.Errorf("got %d %s, want %q", r.Status, r.Body, c.says)
			}
		})
	}
}

// Scalars of our own are read when the field is: too late for a request error.
func TestScalarsThatDoNotLikeTheirValue(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	for name, c := range map[string]struct{ query, says string }{
		"a date":        {`mutation{createApiKey(input:{name:"x",expiresAt:"tomorrow"}){secret}}`, "RFC 3339"},
		"a price":       {`mutation{saveModel(input:{name:"m",pricing:{prompt:"1e3",completion:"1"}}){model{id}}}`, "decimal"},
		"a map":         {`mutation{createChannel(input:{name:"x",type:ECHO,models:["m"],modelMapping:{a:1}}){channel{id}}}`, "strings"},
		"an Int":        {`query{models(first:99999999999){totalCount}}`, ""},
		"of a variable": {`mutation($e:DateTime){createApiKey(input:{name:"x",expiresAt:$e}){secret}}`, "RFC 3339"},
	} {
		t.Run(name, func(t *testing.T) {
			r := post(t, srv, adminKey, c.query, map[string]any{"e": "never"})
			if r.Status != 200 && r.Status != 400 || len(r.Errors) != 1 || r.Errors[0].Extensions.Type != "invalid_request_error" || !strings.Contains(r.Errors[0].Message, c.says) {
				t.Errorf("got %d %s", r.Status, r.Body)
			}
			if strings.Contains(w.logs.String(), "failed") {
				t.Errorf("logged as a failure: %s", w.logs)
			}
		})
	}
}

func FuzzVariables(f *testing.F) {
	schema := generated.NewExecutableSchema(generated.Config{}).Schema()
	vars := newVariables(schema)
	doc, err := parser.ParseQuery(&ast.Source{Input: `query($in:ChatCompletionInput!,$ids:[ID!]!,$n:Int,$j:JSON,$o:OrderDirection,$u:Nonesuch){a}`})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"in":{"model":"m","messages":[{"role":"USER","content":{"parts":[{"text":"x"}]}}],"extra":{"b":[1,{"a":null}]}},"ids":["1"],"n":1e3,"j":[{}],"o":"ASC"}`)
	f.Add(`{"in":[{}],"ids":"x","j":"\ud83d\ude00","u":{"a":[]},"z":-0.1}`)
	f.Add(`{"in":null,"ids":[[["x"]]],"o":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := decodeObject([]byte(text)); err != nil {
			if _, bad := vars.decode(nil, []byte(text)); bad != nil && bad.Extensions["code"] == nil {
				t.Errorf("an error without a code: %v", bad)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Skip("encoding/json is stricter")
		}
		for _, op := range []*ast.OperationDefinition{nil, doc.Operations[0]} {
			got, bad := vars.decode(op, []byte(text))
			if got == nil {
				t.Fatalf("not decoded: %v", bad)
			}
			if op != nil { // a list of one in place of the one
				continue
			}
			b, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var back map[string]any
			if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, want) {
				t.Fatalf("%s became %s", text, b)
			}
		}
	})
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
