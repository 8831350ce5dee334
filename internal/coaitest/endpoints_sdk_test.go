package coaitest_test

import (
	"io"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/coaidev/coai/internal/coaitest"
)

// OpenAI's Go SDK works with the endpoints beside chat.
func TestOpenAIGoSDKEndpoints(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	client := openai.NewClient(option.WithBaseURL(p.URL+"/v1"), option.WithAPIKey(p.UserKey(nil)), option.WithMaxRetries(0))
	ctx := t.Context()
	e, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: "echo", Dimensions: openai.Int(8), Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}},
	})
	if err != nil || len(e.Data) != 2 || len(e.Data[0].Embedding) != 8 || e.Usage.PromptTokens != 2 {
		t.Errorf("embeddings: %+v, %v", e, err)
	}
	in := openai.CompletionNewParams{Model: "echo", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Hello from Go")}}
	c, err := client.Completions.New(ctx, in)
	if err != nil || c.Choices[0].Text != "Hello from Go" || c.Usage.TotalTokens == 0 {
		t.Errorf("completion: %+v, %v", c, err)
	}
	stream, text := client.Completions.NewStreaming(ctx, in), ""
	for stream.Next() {
		text += stream.Current().Choices[0].Text
	}
	if stream.Err() != nil || text != "Hello from Go" {
		t.Errorf("stream: %q, %v", text, stream.Err())
	}
	i, err := client.Images.Generate(ctx, openai.ImageGenerateParams{Model: "echo", Prompt: "A dot", N: openai.Int(2)})
	if err != nil || len(i.Data) != 2 || i.Data[0].B64JSON == "" {
		t.Errorf("images: %+v, %v", i, err)
	}
	s, err := client.Audio.Speech.New(ctx, openai.AudioSpeechNewParams{Model: "echo", Input: "Hi", Voice: openai.AudioSpeechNewParamsVoiceUnion{OfString: openai.String("alloy")}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Body.Close() }()
	if wav, err := io.ReadAll(s.Body); err != nil || !strings.HasPrefix(string(wav), "RIFF") {
		t.Errorf("speech: %d bytes, %v", len(wav), err)
	}
	tr, err := client.Audio.Transcriptions.New(ctx, openai.AudioTranscriptionNewParams{
		Model: "echo", File: openai.File(strings.NewReader("abc"), "talk.mp3", "audio/mpeg"),
	})
	if err != nil || tr.Text != "talk.mp3 has 3 bytes." {
		t.Errorf("transcription: %+v, %v", tr, err)
	}
	ts := client.Audio.Transcriptions.NewStreaming(ctx, openai.AudioTranscriptionNewParams{
		Model: "echo", File: openai.File(strings.NewReader("abc"), "talk.mp3", "audio/mpeg"),
	})
	text = ""
	for ts.Next() {
		text += ts.Current().Delta
	}
	if ts.Err() != nil || text != "talk.mp3 has 3 bytes." {
		t.Errorf("transcription stream: %q, %v", text, ts.Err())
	}
	m, err := client.Moderations.New(ctx, openai.ModerationNewParams{Model: "echo", Input: openai.ModerationNewParamsInputUnion{OfString: openai.String("Hi")}})
	if err != nil || len(m.Results) != 1 || m.Results[0].Flagged {
		t.Errorf("moderation: %+v, %v", m, err)
	}
}
