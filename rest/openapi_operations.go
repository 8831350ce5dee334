package rest

import (
	"maps"

	"github.com/coaidev/coai/models"
)

// operation says what a route reads and answers, for the description. A route
// without one is described as far as the schema goes, and a test complains.
type operation struct {
	request  any      // what the body is decoded into; nil: there is none
	form     bool     // the body is a form
	optional bool     // the body may be absent
	required []string // members of the body
	example  string   // a body
	query    []parameter
	pages    bool     // the list takes limit, after, before, offset and order
	public   bool     // it takes no key
	redirect bool     // the answer sends the browser elsewhere
	response any      // what is answered in JSON, or listed; nil: none
	media    []string // what may be answered beside JSON
}

// listed is a list of what it holds.
type listed struct{ of any }

// raw is JSON in the shape of another API, which describes it.
type raw = map[string]any

// parameter is one of the query.
type parameter struct {
	name, about string
	kind        string // empty: string
	required    bool
	example     string
	enum        []string
	list        bool // it may be repeated
}

func (p parameter) doc() doc {
	schema := doc{"type": "string"}
	if p.kind != "" {
		schema["type"] = p.kind
	}
	if p.enum != nil {
		schema["enum"] = p.enum
	}
	if p.list {
		schema = doc{"type": "array", "items": schema}
	}
	out := doc{"name": p.name, "in": "query", "description": p.about, "schema": schema}
	if p.required {
		out["required"] = true
	}
	if p.example != "" {
		out["example"] = p.example
	}
	return out
}

const (
	events   = "text/event-stream"
	chatBody = `{"model":"echo","messages":[{"role":"user","content":"Hello"}]}`
)

// operations are described by the schema's field that a route calls.
func operations() map[string]operation {
	id := []parameter{{name: "model", about: "The model's name or an alias.", required: true, example: "echo"}, {name: "api_key_id", about: "The key that would ask."}}
	deleted := deletedView{}
	all := map[string]operation{
		"Mutation.createChatCompletion": {request: models.ChatCompletionInput{}, required: []string{"model", "messages"}, example: chatBody, response: models.ChatCompletionBody{}, media: []string{events}},
		"Mutation.createTextCompletion": {request: models.CreateTextCompletionInput{}, required: []string{"model", "prompt"}, example: `{"model":"echo","prompt":"Hello"}`, response: raw{}, media: []string{events}},
		"Mutation.createEmbedding":      {request: models.CreateEmbeddingInput{}, required: []string{"model", "input"}, example: `{"model":"echo","input":"Hello"}`, response: raw{}},
		"Mutation.createImage":          {request: models.CreateImageInput{}, required: []string{"prompt"}, example: `{"model":"echo","prompt":"A house"}`, response: raw{}, media: []string{events}},
		"Mutation.createSpeech":         {request: models.CreateSpeechInput{}, required: []string{"model", "input"}, example: `{"model":"echo","input":"Hello","voice":"alloy"}`, media: []string{"audio/*", events}},
		"Mutation.createTranscription":  {request: models.CreateTranscriptionInput{}, form: true, response: raw{}, media: []string{"text/plain", events}},
		"Mutation.createModeration":     {request: models.CreateModerationInput{}, required: []string{"input"}, example: `{"model":"echo","input":"Hello"}`, response: raw{}},
		"Mutation.createMessage":        {request: models.CreateMessageInput{}, required: []string{"model", "messages", "max_tokens"}, example: `{"model":"echo","max_tokens":100,"messages":[{"role":"user","content":"Hello"}]}`, response: raw{}, media: []string{events}},
		"Mutation.countMessageTokens": {request: models.CreateMessageInput{}, example: chatBody, response: struct {
			InputTokens int64 `json:"input_tokens"`
		}{}},
		"Mutation.createResponse":  {request: models.CreateResponseInput{}, required: []string{"model"}, example: `{"model":"echo","input":"Hello"}`, response: raw{}, media: []string{events}},
		"Query.response":           {response: raw{}},
		"Mutation.deleteResponse":  {response: deleted},
		"Mutation.cancelResponse":  {response: raw{}},
		"Query.responseInputItems": {response: listed{raw{}}, pages: true},
		"Query.models":             {response: listed{modelView{}}, pages: true},
		"Query.model":              {response: modelView{}},
		"Mutation.importModelPrices": {request: models.ImportModelPricesInput{}, response: struct {
			Object   string                `json:"object"`
			Imported int                   `json:"imported"`
			Skipped  []models.SkippedPrice `json:"skipped"`
		}{}},
		"Query.apiKeys":         {response: listed{apiKeyView{}}, pages: true, query: []parameter{{name: "revoked", about: "True for revoked keys; false, or absent, for those that are not.", kind: "boolean"}}},
		"Query.apiKey":          {response: apiKeyView{}},
		"Mutation.createApiKey": {request: models.CreateAPIKeyInput{}, required: []string{"name"}, example: `{"name":"build server","scopes":["chat"],"allowed_models":["echo"]}`, response: apiKeyView{}},
		"Mutation.updateApiKey": {request: models.UpdateAPIKeyInput{}, example: `{"name":"laptop"}`, response: apiKeyView{}},
		"Mutation.rotateApiKey": {request: models.RotateAPIKeyInput{}, optional: true, example: `{"grace_seconds":3600}`, response: apiKeyView{}},
		"Mutation.deleteApiKey": {response: deleted},
		"Query.channels": {response: listed{channelView{}}, pages: true, query: []parameter{
			{name: "type", about: "Only channels of this type."}, {name: "model", about: "Only channels that serve this model."},
			{name: "tag", about: "Only channels with this tag."}, {name: "group", about: "Only channels that users of this group may use."},
			{name: "status", about: "Only channels with this status.", enum: []string{"enabled", "disabled", "unhealthy"}}, {name: "q", about: "Only channels with this in their name or base URL, or with this id."}}},
		"Query.channel":               {response: channelView{}},
		"Query.channelPresets":        {response: listed{presetView{}}},
		"Query.explainRoute":          {response: explanationView{}, query: id},
		"Mutation.createChannel":      {request: models.CreateChannelInput{}, required: []string{"name"}, example: `{"name":"Ollama","preset":"ollama","models":["llama3.2"]}`, response: channelView{}},
		"Mutation.updateChannel":      {request: models.UpdateChannelInput{}, example: `{"status":"disabled"}`, response: channelView{}},
		"Mutation.deleteChannel":      {response: deleted},
		"Mutation.testChannel":        {request: models.TestChannelInput{}, optional: true, example: `{"model":"echo"}`, response: models.TestChannelResult{}, media: []string{events}},
		"Mutation.resetChannelHealth": {response: channelView{}},
		"Query.usageAudit":            {response: listed{auditView{}}, query: append(dateParameters(true), parameter{name: "channel_id", about: "Only this channel."})},
		"Query.usage":                 {response: usagePageView{}, media: []string{"text/csv"}, query: append(dateParameters(false), usageParameters()...)},
		"Query.viewer":                {response: userView{}},
		"Query.user":                  {response: userView{}},
		"Mutation.updateViewer":       {request: models.UpdateViewerInput{}, example: `{"name":"Ada"}`, response: userView{}},
		"Mutation.updateUser":         {request: models.UpdateUserInput{}, response: userView{}},
		"Mutation.updateUserBudgets":  {request: models.BudgetsInput{}, example: `{"monthly":500}`, response: userView{}},
		"Mutation.adjustBalance":      {request: models.AdjustBalanceInput{}, required: []string{"amount"}, example: `{"amount":100,"note":"invoice 17"}`, response: entryView{}},
	}
	for _, part := range []map[string]operation{
		paymentOperations(), adminOperations(), accountOperations(), conversationOperations(), fileOperations(), webhookOperations(),
	} {
		maps.Copy(all, part)
	}
	return all
}

func dateParameters(required bool) []parameter {
	return []parameter{
		{name: "start_date", about: "The first moment: a time of ISO 8601, or a date, which is midnight.", required: required, example: "2026-01-01"},
		{name: "end_date", about: "The end, itself outside: as `start_date`.", required: required, example: "2026-02-01"},
	}
}

func usageParameters() []parameter {
	return []parameter{
		{name: "granularity", about: "The width of a bucket; default `day`.", enum: []string{"hour", "day", "week", "month"}},
		{name: "timezone", about: "The IANA name of the time zone in which buckets begin; default `UTC`."},
		{name: "model", about: "Only these models.", list: true},
		{name: "user_id", about: "Only these users; who is no admin can name only themselves.", list: true},
		{name: "channel_id", about: "Only these channels. For admins.", list: true},
		{name: "api_key_id", about: "Only these API keys.", list: true},
		{name: "group_by", about: "What results are told apart by: any of `model`, `user`, `channel` and `api_key`, with commas between.", list: true},
		{name: "compare", about: "What to set the range beside.", enum: []string{"previous_period"}},
		{name: "limit", about: "How many buckets on a page; default 1000.", kind: "integer"},
		{name: "page", about: "The `next_page` of the page before."},
		{name: "format", about: "`csv` gives all pages as lines; as does `Accept: text/csv`.", enum: []string{"json", "csv"}},
	}
}
