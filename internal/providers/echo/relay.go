package echo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// Serves implements [providers.Relayer]. Legacy completions are served by way of
// chat ones, as for every provider that does not have them.
func (p *Provider) Serves(e providers.Endpoint) bool {
	switch e {
	case providers.Embeddings, providers.Images, providers.Speech, providers.Transcriptions, providers.Moderations:
		return true
	case providers.Completions, providers.Responses, providers.Messages:
	}
	return false
}

// Relay implements [providers.Relayer]: the same request always gets the same
// vectors, images and sounds. The member metadata of a JSON request controls it
// as it controls completions.
func (p *Provider) Relay(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	if !p.Serves(call.Endpoint) {
		return nil, &providers.Error{Class: providers.NoModel, Message: "The echo model has no such endpoint."}
	}
	if call.Endpoint == providers.Transcriptions {
		return transcription(ctx, call)
	}
	c, err := relayControls(call.Body)
	if err != nil {
		return nil, err
	}
	if c.fail == failTimeout {
		<-ctx.Done()
		return nil, ctxError(ctx)
	}
	if err := sleep(ctx, c.firstDelay); err != nil {
		return nil, err
	}
	if err := c.failure(); err != nil {
		return nil, err
	}
	var reply *providers.Reply
	switch call.Endpoint { //nolint:exhaustive // the others are answered or refused above
	case providers.Embeddings:
		reply, err = embeddings(call)
	case providers.Images:
		reply, err = images(call)
	case providers.Speech:
		reply = speech(call)
	default:
		reply, err = moderation(call)
	}
	if err != nil {
		return nil, err
	}
	reply.Body = &paced{ctx: ctx, c: c, from: reply.Body}
	return reply, nil
}

func relayControls(body []byte) (*controls, error) {
	metadata := models.Metadata{}
	gjson.GetBytes(body, "metadata").ForEach(func(key, value gjson.Result) bool {
		metadata[key.String()] = value.String()
		return true
	})
	return readControls(metadata)
}

// paced is an answer's body that comes as slowly, and breaks off, as the
// controls say: in two halves.
type paced struct {
	ctx  context.Context // bounds the whole answer
	c    *controls
	from io.ReadCloser
	all  []byte
	half int
	n    int
}

func (p *paced) Read(b []byte) (int, error) {
	if p.all == nil {
		var err error
		if p.all, err = io.ReadAll(p.from); err != nil {
			return 0, err //nolint:wrapcheck // of bytes in memory: there is none
		}
		p.half = max(1, len(p.all)/2)
	}
	end := p.half
	switch {
	case p.n == len(p.all):
		return 0, io.EOF
	case p.n >= p.half && p.c.fail == failMid:
		return 0, brokeOff()
	case p.n >= p.half:
		end = len(p.all)
	}
	if p.n == 0 || p.n == p.half {
		if err := sleep(p.ctx, p.c.delay); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.all[p.n:end])
	p.n += n
	return n, nil
}

func (p *paced) Close() error { return nil }

func jsonReply(v any) (*providers.Reply, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytesReply("application/json", b), nil
}

func bytesReply(contentType string, b []byte) *providers.Reply {
	return &providers.Reply{ContentType: contentType, Body: io.NopCloser(bytes.NewReader(b))}
}

// moderation flags nothing.
func moderation(call providers.Call) (*providers.Reply, error) {
	input := gjson.GetBytes(call.Body, "input")
	items := 1
	if input.IsArray() && input.Get("0").Type == gjson.String {
		items = len(input.Array())
	}
	no, zero, none := map[string]bool{}, map[string]float64{}, map[string][]string{}
	for _, category := range []string{
		"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
		"self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
	} {
		no[category], zero[category], none[category] = false, 0, []string{}
	}
	results := make([]map[string]any, items)
	for i := range results {
		results[i] = map[string]any{"flagged": false, "categories": no, "category_scores": zero, "category_applied_input_types": none}
	}
	return jsonReply(map[string]any{"id": models.NewID("modr-"), "model": call.Model, "results": results})
}

// transcription says what was sent: the recording's name and size.
func transcription(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	name, size, format, err := readForm(call)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s has %d bytes.", name, size)
	usage := map[string]any{
		"type": "tokens", "input_tokens": size / 1000, "output_tokens": tokens.Count(text),
		"total_tokens": size/1000 + tokens.Count(text),
	}
	switch {
	case call.Stream:
		var out []byte
		for _, event := range []any{
			map[string]any{"type": "transcript.text.delta", "delta": text},
			map[string]any{"type": "transcript.text.done", "text": text, "usage": usage},
		} {
			b, err := json.Marshal(event)
			if err != nil {
				return nil, fmt.Errorf("encode event: %w", err)
			}
			out = append(append(append(out, "data: "...), b...), "\n\n"...)
		}
		return bytesReply("text/event-stream", out), ctxError(ctx)
	case format == "text":
		return bytesReply("text/plain; charset=utf-8", []byte(text+"\n")), ctxError(ctx)
	case format == "srt":
		return bytesReply("text/plain; charset=utf-8", []byte("1\n00:00:00,000 --> 00:00:01,000\n"+text+"\n")), ctxError(ctx)
	case format == "vtt":
		return bytesReply("text/plain; charset=utf-8", []byte("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n"+text+"\n")), ctxError(ctx)
	case format == "verbose_json":
		return jsonReply(map[string]any{
			"task": "transcribe", "language": "english", "duration": 1.0, "text": text,
			"usage": map[string]any{"type": "duration", "seconds": 1},
		})
	}
	return jsonReply(map[string]any{"text": text, "usage": usage})
}

func readForm(call providers.Call) (name string, size int64, format string, err error) {
	_, params, err := mime.ParseMediaType(call.ContentType)
	if err != nil {
		return "", 0, "", invalid("file", "The request is not a form.")
	}
	r := multipart.NewReader(bytes.NewReader(call.Body), params["boundary"])
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return name, size, format, nil
		}
		if err != nil {
			return "", 0, "", invalid("file", "The request is not a form.")
		}
		switch part.FormName() {
		case "file":
			name = part.FileName()
			size, err = io.Copy(io.Discard, part)
		case "response_format":
			var b []byte
			b, err = io.ReadAll(io.LimitReader(part, 32))
			format = string(b)
		}
		if err != nil {
			return "", 0, "", invalid("file", "The request is not a form.")
		}
	}
}

// inputs are the texts of an embeddings request; tokens count as their JSON.
func inputs(body []byte) []string {
	input := gjson.GetBytes(body, "input")
	if !input.IsArray() || input.Get("0").Type == gjson.Number {
		return []string{input.String()}
	}
	var list []string
	input.ForEach(func(_, v gjson.Result) bool {
		list = append(list, v.String())
		return true
	})
	return list
}

func now() int64 { return time.Now().Unix() }
