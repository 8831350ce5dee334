package coaitest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/coaidev/coai/internal/coaitest"
)

// OpenAI's own Go SDK works when only its base URL is changed.
func TestOpenAIGoSDK(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		client := openai.NewClient(option.WithBaseURL(p.URL+"/v1"), option.WithAPIKey(p.UserKey(nil)), option.WithMaxRetries(0))
		params := openai.ChatCompletionNewParams{
			Model:    "echo",
			Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello from Go")},
		}
		t.Run("completion", func(t *testing.T) {
			c, err := client.Chat.Completions.New(t.Context(), params)
			if err != nil || c.Choices[0].Message.Content != "Hello from Go" || c.Usage.TotalTokens == 0 {
				t.Errorf("%+v, %v", c, err)
			}
		})
		t.Run("stream", func(t *testing.T) {
			in := params
			in.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
			s := client.Chat.Completions.NewStreaming(t.Context(), in)
			var acc openai.ChatCompletionAccumulator
			for s.Next() {
				if !acc.AddChunk(s.Current()) {
					t.Fatalf("the accumulator refuses %s", s.Current().RawJSON())
				}
			}
			if s.Err() != nil || acc.Choices[0].Message.Content != "Hello from Go" || acc.Usage.TotalTokens == 0 {
				t.Errorf("%+v, %v", acc, s.Err())
			}
		})
		t.Run("files", func(t *testing.T) {
			f, err := client.Files.New(t.Context(), openai.FileNewParams{
				File: openai.File(strings.NewReader("Hello file"), "hello.txt", "text/plain"), Purpose: openai.FilePurposeUserData,
			})
			if err != nil || f.Filename != "hello.txt" || f.Bytes != 10 || !strings.Contains(f.RawJSON(), `"status":"processed"`) {
				t.Fatalf("%+v, %v", f, err)
			}
			if got, err := client.Files.Get(t.Context(), f.ID); err != nil || got.ID != f.ID || got.Purpose != openai.FileObjectPurposeUserData {
				t.Errorf("%+v, %v", got, err)
			}
			res, err := client.Files.Content(t.Context(), f.ID)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != "Hello file" || res.Body.Close() != nil {
				t.Errorf("%q, %v", b, err)
			}
			list := client.Files.ListAutoPaging(t.Context(), openai.FileListParams{Purpose: openai.String("user_data"), Limit: openai.Int(1)})
			n := 0
			for list.Next() {
				n++
			}
			if list.Err() != nil || n != 1 {
				t.Errorf("%d files, %v", n, list.Err())
			}
			if gone, err := client.Files.Delete(t.Context(), f.ID); err != nil || !gone.Deleted {
				t.Errorf("%+v, %v", gone, err)
			}
		})
		t.Run("tools", func(t *testing.T) {
			in := params
			in.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
				Name: "look_up", Parameters: openai.FunctionParameters{"type": "object", "properties": map[string]any{"word": map[string]any{"type": "string"}}, "required": []string{"word"}},
			})}
			in.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("required")}
			s := client.Chat.Completions.NewStreaming(t.Context(), in)
			var acc openai.ChatCompletionAccumulator
			finished := false
			for s.Next() {
				acc.AddChunk(s.Current())
				if call, ok := acc.JustFinishedToolCall(); ok {
					finished = call.Name == "look_up" && call.Arguments != ""
				}
			}
			if s.Err() != nil || !finished || acc.Choices[0].FinishReason != "tool_calls" {
				t.Errorf("%+v, %v", acc, s.Err())
			}
		})
		t.Run("models", func(t *testing.T) {
			list, err := client.Models.List(t.Context())
			if err != nil || len(list.Data) != 1 || list.Data[0].ID != "echo" {
				t.Errorf("%+v, %v", list, err)
			}
			if m, err := client.Models.Get(t.Context(), "echo"); err != nil || m.ID != "echo" {
				t.Errorf("%+v, %v", m, err)
			}
		})
		t.Run("errors", func(t *testing.T) {
			in := params
			in.Model = "nothing"
			_, err := client.Chat.Completions.New(t.Context(), in)
			var e *openai.Error
			if !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || e.Code != "model_not_found" || e.Param != "model" {
				t.Errorf("%v", err)
			}
			bad := openai.NewClient(option.WithBaseURL(p.URL+"/v1"), option.WithAPIKey("sk-none"), option.WithMaxRetries(0))
			if _, err = bad.Models.List(t.Context()); !errors.As(err, &e) || e.StatusCode != http.StatusUnauthorized || e.Code != "invalid_api_key" {
				t.Errorf("%v", err)
			}
		})
		t.Run("abort", func(t *testing.T) {
			in := params
			in.Metadata = map[string]string{"echo_delay_ms": "1000"}
			ctx, leave := context.WithCancel(t.Context())
			s := client.Chat.Completions.NewStreaming(ctx, in)
			s.Next()
			leave()
			for s.Next() { // reads what is left
			}
			if !errors.Is(s.Err(), context.Canceled) {
				t.Errorf("%v", s.Err())
			}
		})
	})
}

// OpenAI's Node SDK and the graphql-ws client, run by node on packages that
// .ci/run installs from testdata/node/package-lock.json.
func TestNodeClients(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	if _, err := os.Stat(filepath.Join("testdata", "node", "node_modules", "openai")); err != nil {
		t.Skip("the packages are not installed: run 'npm ci' in internal/coaitest/testdata/node")
	}
	p := coaitest.Start(t, coaitest.Backends{})
	cmd := exec.CommandContext(t.Context(), node, "clients.mjs")
	cmd.Dir = filepath.Join("testdata", "node")
	cmd.Env = append(os.Environ(), "COAI_URL="+p.URL, "COAI_KEY="+p.UserKey(nil)) //nolint:forbidigo // node needs PATH and HOME
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
