package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/coaidev/coai/graph/generated"
	"github.com/coaidev/coai/models"
)

type userError struct {
	Field   []string
	Code    string
	Message string
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	const query = `mutation($in:ChatCompletionInput!){createChatCompletion(input:$in){
		chatCompletion{id created model raw usage{promptTokens completionTokens totalTokens cost{amount currency} estimated}
			choices{index finishReason logprobs message{role content toolCalls{id type function{name arguments}}}}}
		userErrors{field code message}}}`
	type answer struct {
		CreateChatCompletion struct {
			ChatCompletion *struct {
				ID, Model string
				Raw       struct{ Object string }
				Usage     struct {
					TotalTokens int64
					Cost        struct{ Amount, Currency string }
				}
				Choices []struct {
					FinishReason string
					Message      struct {
						Role, Content string
						ToolCalls     []struct {
							Function struct{ Name, Arguments string }
						}
					}
				}
			}
			UserErrors []userError
		}
	}
	t.Run("answers", func(t *testing.T) {
		got := as[answer](t, post(t, srv, adminKey, query, json.RawMessage(`{"in":{"model":"echo","messages":[{"role":"USER","content":{"text":"hello"}}]}}`))).CreateChatCompletion
		c := got.ChatCompletion
		if c == nil || c.Choices[0].Message.Content != "hello" || c.Choices[0].Message.Role != "ASSISTANT" || c.Choices[0].FinishReason != "STOP" ||
			c.Usage.TotalTokens == 0 || c.Usage.Cost.Amount != "0" || c.Usage.Cost.Currency != "usd" || c.Raw.Object != "chat.completion" || got.UserErrors == nil {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("calls tools with parts and all", func(t *testing.T) {
		got := as[answer](t, post(t, srv, adminKey, query, json.RawMessage(`{"in":{"model":"echo","toolChoice":"required",
			"messages":[{"role":"USER","content":{"parts":[{"text":"a"},{"imageUrl":{"url":"https://x.test/a.png"}}]}}],
			"tools":[{"function":{"name":"look","parameters":{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"}},"required":["z","a"]}}}]}}`))).CreateChatCompletion
		if got.ChatCompletion == nil || got.ChatCompletion.Choices[0].Message.ToolCalls[0].Function.Name != "look" {
			t.Fatalf("got %+v", got)
		}
		if args := got.ChatCompletion.Choices[0].Message.ToolCalls[0].Function.Arguments; strings.Index(args, `"z"`) > strings.Index(args, `"a"`) {
			t.Errorf("the order of the parameters is lost: %s", args)
		}
	})
	for name, c := range map[string]struct {
		in   string
		want userError
	}{
		"a bad value":    {`{"model":"echo","temperature":3,"messages":[{"role":"USER","content":{"text":"x"}}]}`, userError{Field: []string{"temperature"}, Code: "INVALID"}},
		"a missing part": {`{"model":"echo","messages":[{"role":"USER","content":{"text":"x"}},{"role":"TOOL","content":{"text":"x"}}]}`, userError{Field: []string{"messages", "1", "toolCallId"}, Code: "REQUIRED"}},
		"no such model":  {`{"model":"nonesuch","messages":[{"role":"USER","content":{"text":"x"}}]}`, userError{Field: []string{"model"}, Code: "NOT_FOUND"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := as[answer](t, post(t, srv, adminKey, query, json.RawMessage(`{"in":`+c.in+`}`))).CreateChatCompletion
			if got.ChatCompletion != nil || len(got.UserErrors) != 1 || got.UserErrors[0].Message == "" {
				t.Fatalf("got %+v", got)
			}
			got.UserErrors[0].Message = ""
			if !reflect.DeepEqual(got.UserErrors[0], c.want) {
				t.Errorf("got %+v, want %+v", got.UserErrors[0], c.want)
			}
		})
	}
	t.Run("a failing upstream is a top-level error", func(t *testing.T) {
		r := post(t, srv, adminKey, query, json.RawMessage(`{"in":{"model":"echo","metadata":{"echo_fail":"before"},"messages":[{"role":"USER","content":{"text":"x"}}]}}`))
		if r.Status != 200 || len(r.Errors) != 1 || r.Errors[0].Extensions.Type != "service_unavailable_error" || string(r.Data) != `{"createChatCompletion":null}` {
			t.Errorf("got %d %s", r.Status, r.Body)
		}
	})
}

// One walk through everything that can be managed.
func TestManagement(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	run := func(query string, variables map[string]any) map[string]any {
		t.Helper()
		return as[map[string]any](t, post(t, srv, adminKey, query, variables))
	}
	at := func(v any, path ...string) any {
		t.Helper()
		for _, key := range path {
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("no %s in %v", key, v)
			}
			v = m[key]
		}
		return v
	}

	made := run(`mutation{createApiKey(input:{name:"ci",scopes:[CHAT,MODELS_READ],allowedModels:["echo"],allowedCidrs:["10.0.0.1"]}){
		secret apiKey{id name display scopes allowedModels allowedCidrs expiresAt revokedAt createdAt} userErrors{code}}}`, nil)
	id := at(made, "createApiKey", "apiKey", "id")
	if s := at(made, "createApiKey", "secret").(string); !strings.HasPrefix(s, "sk-coai-") {
		t.Errorf("secret %q", s)
	}
	if got := fmt.Sprint(at(made, "createApiKey", "apiKey", "allowedCidrs")); got != "[10.0.0.1/32]" {
		t.Errorf("networks %s", got)
	}
	vars := map[string]any{"id": id}
	renamed := run(`mutation($id:ID!){updateApiKey(id:$id,input:{name:"cd",expiresAt:null}){apiKey{name scopes} userErrors{code}}}`, vars)
	if at(renamed, "updateApiKey", "apiKey", "name") != "cd" {
		t.Errorf("got %v", renamed)
	}
	rotated := run(`mutation($id:ID!){rotateApiKey(id:$id,input:{graceSeconds:60}){secret apiKey{previousExpiresAt}}}`, vars)
	if at(rotated, "rotateApiKey", "secret") == at(made, "createApiKey", "secret") || at(rotated, "rotateApiKey", "apiKey", "previousExpiresAt") == nil {
		t.Errorf("got %v", rotated)
	}
	list := run(`{apiKeys(first:1,order:ASC,filter:{revoked:false}){totalCount nodes{id} edges{cursor node{name}} pageInfo{hasNextPage endCursor}}}`, nil)
	if at(list, "apiKeys", "pageInfo", "endCursor") == nil || len(at(list, "apiKeys", "nodes").([]any)) != 1 {
		t.Errorf("got %v", list)
	}
	if got := run(`mutation($id:ID!){deleteApiKey(id:$id){deletedApiKeyId}}`, vars); at(got, "deleteApiKey", "deletedApiKeyId") != id {
		t.Errorf("got %v", got)
	}

	channel := run(`mutation{createChannel(input:{name:"second",type:ECHO,models:["parrot"],modelMapping:{parrot:"echo"},priority:-1,limits:{rpm:5}}){
		channel{id name type baseUrl keyHint models modelMapping priority weight status health{state successRate} limits{rpm tpm} settings{headers}} userErrors{code message}}}`, nil)
	vars = map[string]any{"id": at(channel, "createChannel", "channel", "id")}
	if at(channel, "createChannel", "channel", "modelMapping", "parrot") != "echo" || at(channel, "createChannel", "channel", "status") != "ENABLED" {
		t.Errorf("got %v", channel)
	}
	if got := run(`mutation($id:ID!){testChannel(id:$id){result{success model error latencyMs}}}`, vars); at(got, "testChannel", "result", "success") != true {
		t.Errorf("got %v", got)
	}
	if got := run(`mutation($id:ID!){updateChannel(id:$id,input:{status:DISABLED,settings:{headers:{A:"b"}}}){channel{status weight settings{headers}}}}`, vars); at(got, "updateChannel", "channel", "status") != "DISABLED" {
		t.Errorf("got %v", got)
	}
	if got := run(`{channels(filter:{type:ECHO,model:"parrot"}){nodes{name status}}}`, nil); len(at(got, "channels", "nodes").([]any)) != 1 {
		t.Errorf("got %v", got)
	}
	if got := run(`mutation($id:ID!){deleteChannel(id:$id){deletedChannelId}}`, vars); at(got, "deleteChannel", "deletedChannelId") != vars["id"] {
		t.Errorf("got %v", got)
	}

	saved := run(`mutation{saveModel(input:{name:"mine",aliases:["m1"],pricing:{prompt:"0.15",completion:0.6}}){model{id name pricing{prompt completion cachedRead} createdAt}}}`, nil)
	if at(saved, "saveModel", "model", "pricing", "prompt") != "0.15" || at(saved, "saveModel", "model", "pricing", "completion") != "0.6" {
		t.Errorf("got %v", saved)
	}
	if got := run(`mutation($id:ID!){deleteModel(id:$id){deletedModelId}}`, map[string]any{"id": at(saved, "saveModel", "model", "id")}); at(got, "deleteModel", "deletedModelId") == nil {
		t.Errorf("got %v", got)
	}

	plan := run(`mutation{updatePlan(tier:FREE,input:{requestsPerMinute:61}){plan{tier requestsPerMinute requestsPerHour requestsPerDay}}}`, nil)
	if at(plan, "updatePlan", "plan", "requestsPerMinute") != 61.0 {
		t.Errorf("got %v", plan)
	}
	viewer := run(`mutation{updateViewer(input:{name:"Ada",avatarUrl:null}){viewer{name email role tier status avatarUrl
		usage{requestsToday tokensThisMonth costThisMonth{amount currency}} plan{tier requestsPerMinute}}}}`, nil)
	if at(viewer, "updateViewer", "viewer", "name") != "Ada" || at(viewer, "updateViewer", "viewer", "plan", "requestsPerMinute") == nil ||
		at(viewer, "updateViewer", "viewer", "usage", "requestsToday") != 1.0 { // the test of the channel
		t.Errorf("got %v", viewer)
	}
	if got := run(`mutation{createApiKey(input:{name:""}){apiKey{id} secret userErrors{field code}}}`, nil); fmt.Sprint(at(got, "createApiKey", "userErrors")) != "[map[code:REQUIRED field:[name]]]" {
		t.Errorf("got %v", got)
	}
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	stranger, key := w.user("stranger@example.com")
	own := as[struct {
		Viewer   struct{ ID string }
		Models   struct{ Nodes []struct{ ID string } }
		Channels struct{ Nodes []struct{ ID string } }
		Plans    []struct{ ID string }
	}](t, post(t, srv, adminKey, `{viewer{id} models{nodes{id}} channels{nodes{id}} plans{id}}`, nil))
	ids := []string{own.Viewer.ID, own.Models.Nodes[0].ID, own.Channels.Nodes[0].ID, own.Plans[0].ID, stranger.UserID, stranger.KeyID, "user_nonesuch", "nonesuch", "model_!", "model_bm9uZXN1Y2g", ""}
	types := func(key string) string {
		t.Helper()
		got := as[struct {
			Nodes []*struct {
				Typename string `json:"__typename"`
				ID       string
			}
		}](t, post(t, srv, key, `query($ids:[ID!]!){nodes(ids:$ids){__typename id}}`, map[string]any{"ids": ids}))
		var names []string
		for i, n := range got.Nodes {
			if n == nil {
				names = append(names, "-")
				continue
			}
			if n.ID != ids[i] {
				t.Errorf("asked for %s, got %s", ids[i], n.ID)
			}
			names = append(names, n.Typename)
		}
		return strings.Join(names, " ")
	}
	if got := types(adminKey); got != "User Model Channel Plan User - - - - - -" {
		t.Errorf("the admin sees %s", got)
	}
	if got := types(key); got != "- Model - Plan User ApiKey - - - - -" {
		t.Errorf("the stranger sees %s", got)
	}
	if r := post(t, srv, key, `query($id:ID!){node(id:$id){... on ApiKey{name}}}`, map[string]any{"id": stranger.KeyID}); string(r.Data) != `{"node":{"name":"test"}}` {
		t.Errorf("got %s", r.Body)
	}
	if r := post(t, srv, adminKey, `query($ids:[ID!]!){nodes(ids:$ids){id}}`, map[string]any{"ids": slices.Repeat([]string{"x"}, 101)}); r.code() != models.CodeInvalidValue || r.Errors[0].Extensions.Param != "ids" {
		t.Errorf("got %s", r.Body)
	}
	if r := post(t, srv, "", `{node(id:"`+own.Viewer.ID+`"){id}}`, nil); r.code() != models.CodeMissingAPIKey {
		t.Errorf("got %s", r.Body)
	}
}

// An alias of a model is a name of it, but no id.
func TestNodeOfAnAliasIsNull(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	as[any](t, post(t, srv, adminKey, `mutation{saveModel(input:{name:"echo",aliases:["polly"]}){model{id}}}`, nil))
	alias := models.Model{Name: "polly"}
	r := post(t, srv, adminKey, `query($id:ID!){model(name:"polly"){name} node(id:$id){id}}`, map[string]any{"id": alias.ID()})
	if string(r.Data) != `{"model":{"name":"echo"},"node":null}` {
		t.Errorf("got %s", r.Body)
	}
}

// Every field of the three roots refuses a nameless caller, and those of admins
// refuse a user, whatever the input.
func TestEveryRootFieldIsGuarded(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	_, key := w.user("user@example.com")
	schema := generated.NewExecutableSchema(generated.Config{}).Schema()
	// People come through these to be let in.
	doors := []string{
		"signInMethods", "signUp", "signIn", "signOut", "verifyEmail", "requestPasswordReset", "resetPassword", "startOidcSignIn", "finishOidcSignIn",
		"receiveStripeEvent", // its signature is the proof
	}
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation} {
		for _, field := range root.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			t.Run(field.Name, func(t *testing.T) {
				call := strings.ToLower(root.Name) + "{" + field.Name + arguments(schema, field) + selection(schema, field.Type) + "}"
				code := models.CodeMissingAPIKey
				switch {
				case field.Name == "node", field.Name == "nodes": // the ids are of nothing
					code = ""
				case slices.Contains(doors, field.Name):
					code = ""
				case field.Name == "sharedConversation":
					code = models.CodeResourceNotFound // who has the link needs no key
				}
				if r := post(t, srv, "", call, nil); r.code() != code || r.Status != 200 {
					t.Errorf("nobody got %s for %s", r.Body, call)
				}
				if !strings.Contains(field.Description, "Scope: `ADMIN`") {
					return
				}
				if r := post(t, srv, key, call, nil); r.code() != models.CodeInsufficientScope {
					t.Errorf("a user got %s for %s", r.Body, call)
				}
			})
		}
	}
}

func arguments(schema *ast.Schema, field *ast.FieldDefinition) string {
	var args []string
	for _, arg := range field.Arguments {
		if arg.Type.NonNull {
			args = append(args, arg.Name+":"+literal(schema, arg.Type))
		}
	}
	if len(args) == 0 {
		return ""
	}
	return "(" + strings.Join(args, ",") + ")"
}

// literal is some value of the type.
func literal(schema *ast.Schema, typ *ast.Type) string {
	if typ.Elem != nil {
		return "[" + literal(schema, typ.Elem) + "]"
	}
	switch def := schema.Types[typ.NamedType]; def.Kind {
	case ast.Enum:
		return def.EnumValues[0].Name
	case ast.InputObject:
		var fields []string
		for _, f := range def.Fields {
			if f.Type.NonNull || len(fields) == 0 && def.Directives.ForName("oneOf") != nil {
				fields = append(fields, f.Name+":"+literal(schema, f.Type))
			}
		}
		return "{" + strings.Join(fields, ",") + "}"
	default:
		if typ.NamedType == "DateTime" {
			return `"2026-01-01T00:00:00Z"`
		}
		if typ.NamedType == "Int" {
			return "1"
		}
		return `"1"`
	}
}

func selection(schema *ast.Schema, typ *ast.Type) string {
	if schema.Types[typ.Name()].IsCompositeType() {
		return "{__typename}"
	}
	return ""
}

func TestOutcome(t *testing.T) {
	w := newWorld(t)
	ctx := models.WithViewer(t.Context(), w.admin)
	for name, c := range map[string]struct {
		call func() (any, error)
		kind models.Kind
	}{
		"invalid": {func() (any, error) {
			return Outcome(w.resolver.Mutation().CreateAPIKey(ctx, models.CreateAPIKeyInput{}))
		}, models.KindInvalid},
		"not found": {func() (any, error) { return Outcome(w.resolver.Mutation().DeleteChannel(ctx, "ch_x")) }, models.KindNotFound},
		"nobody":    {func() (any, error) { return Outcome(w.resolver.Mutation().DeleteChannel(t.Context(), "ch_x")) }, models.KindUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.call()
			var e *models.Error
			if !errors.As(err, &e) || e.Kind != c.kind {
				t.Errorf("got %v, want kind %d", err, c.kind)
			}
		})
	}
	if p, err := Outcome(w.resolver.Mutation().CreateAPIKey(ctx, models.CreateAPIKeyInput{Name: "x"})); err != nil || p.Secret == nil {
		t.Errorf("got %+v, %v", p, err)
	}
}
