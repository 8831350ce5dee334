package coaitest_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/coaidev/coai/internal/coaitest"
)

// Anthropic's own Go SDK works when only its base URL is changed.
func TestAnthropicGoSDK(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	client := anthropic.NewClient(anthropicoption.WithBaseURL(p.URL), anthropicoption.WithAPIKey(p.UserKey(nil)), anthropicoption.WithMaxRetries(0))
	params := anthropic.MessageNewParams{
		Model: "echo", MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Hello from Go"))},
	}
	withTools := params
	withTools.Tools = []anthropic.ToolUnionParam{anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{
		Properties: map[string]any{"word": map[string]any{"type": "string"}}, Required: []string{"word"},
	}, "look_up")}
	withTools.ToolChoice = anthropic.ToolChoiceUnionParam{OfAny: &anthropic.ToolChoiceAnyParam{}}
	stream := func(t *testing.T, in anthropic.MessageNewParams) (m anthropic.Message) {
		t.Helper()
		s := client.Messages.NewStreaming(t.Context(), in)
		for s.Next() {
			if err := m.Accumulate(s.Current()); err != nil {
				t.Fatal(err)
			}
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		return m
	}
	t.Run("message", func(t *testing.T) {
		m, err := client.Messages.New(t.Context(), params)
		if err != nil || m.Content[0].Text != "Hello from Go" || m.StopReason != anthropic.StopReasonEndTurn || m.Usage.InputTokens == 0 {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		if m := stream(t, params); m.Content[0].Text != "Hello from Go" || m.StopReason != anthropic.StopReasonEndTurn || m.Usage.OutputTokens == 0 {
			t.Errorf("%+v", m)
		}
	})
	t.Run("tools", func(t *testing.T) {
		m := stream(t, withTools)
		call := m.Content[len(m.Content)-1]
		if m.StopReason != anthropic.StopReasonToolUse || call.Name != "look_up" || decode[object](t, string(call.Input))["word"] == nil {
			t.Fatalf("%+v", m)
		}
		in := withTools
		in.ToolChoice = anthropic.ToolChoiceUnionParam{}
		in.Messages = append(in.Messages[:1:1], m.ToParam(), anthropic.NewUserMessage(anthropic.NewToolResultBlock(call.ID, "A unit of language.", false)))
		if next, err := client.Messages.New(t.Context(), in); err != nil || next.StopReason != anthropic.StopReasonEndTurn {
			t.Errorf("%+v, %v", next, err)
		}
	})
	t.Run("count", func(t *testing.T) {
		n, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{Model: "echo", Messages: params.Messages})
		if err != nil || n.InputTokens == 0 {
			t.Errorf("%+v, %v", n, err)
		}
	})
	t.Run("errors", func(t *testing.T) {
		in := params
		in.Model = "nothing"
		_, err := client.Messages.New(t.Context(), in)
		var e *anthropic.Error
		if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || e.Type() != "not_found_error" || e.RequestID == "" {
			t.Errorf("%v", err)
		}
	})
}

// OpenAI's own Go SDK speaks responses when only its base URL is changed.
func TestOpenAIGoSDKResponses(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	client := openai.NewClient(option.WithBaseURL(p.URL+"/v1"), option.WithAPIKey(p.UserKey(nil)), option.WithMaxRetries(0))
	params := responses.ResponseNewParams{Model: "echo", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hello from Go")}}
	t.Run("response", func(t *testing.T) {
		r, err := client.Responses.New(t.Context(), params)
		if err != nil || r.OutputText() != "Hello from Go" || r.Usage.TotalTokens == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		again, err := client.Responses.Get(t.Context(), r.ID, responses.ResponseGetParams{})
		if err != nil || again.OutputText() != "Hello from Go" {
			t.Errorf("%+v, %v", again, err)
		}
		items := client.Responses.InputItems.ListAutoPaging(t.Context(), r.ID, responses.InputItemListParams{})
		n := 0
		for items.Next() {
			n++
		}
		if items.Err() != nil || n != 1 {
			t.Errorf("%d items, %v", n, items.Err())
		}
		next := params
		next.PreviousResponseID = openai.String(r.ID)
		if r, err = client.Responses.New(t.Context(), next); err != nil || r.PreviousResponseID == "" {
			t.Errorf("%+v, %v", r, err)
		}
		if err := client.Responses.Delete(t.Context(), r.ID); err != nil {
			t.Error(err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		s := client.Responses.NewStreaming(t.Context(), params)
		text, done := "", false
		for s.Next() {
			switch e := s.Current().AsAny().(type) {
			case responses.ResponseTextDeltaEvent:
				text += e.Delta
			case responses.ResponseCompletedEvent:
				done = e.Response.OutputText() == text
			}
		}
		if s.Err() != nil || text != "Hello from Go" || !done {
			t.Errorf("%q, %t, %v", text, done, s.Err())
		}
	})
	t.Run("tools", func(t *testing.T) {
		in := params
		in.Tools = []responses.ToolUnionParam{responses.ToolParamOfFunction("look_up", map[string]any{
			"type": "object", "properties": map[string]any{"word": map[string]any{"type": "string"}}, "required": []string{"word"}, "additionalProperties": false,
		}, true)}
		in.ToolChoice = responses.ResponseNewParamsToolChoiceUnion{OfToolChoiceMode: openai.Opt(responses.ToolChoiceOptionsRequired)}
		r, err := client.Responses.New(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if call := r.Output[len(r.Output)-1]; call.Type != "function_call" || call.Name != "look_up" || call.CallID == "" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("errors", func(t *testing.T) {
		in := params
		in.PreviousResponseID = openai.String("resp_none")
		_, err := client.Responses.New(t.Context(), in)
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || e.Param != "previous_response_id" {
			t.Errorf("%v", err)
		}
	})
}
