package models

import (
	"encoding/base64"
	"unicode/utf8"
)

// Limits of a request for speech: OpenAI's.
const (
	MaxSpeechInput = 4096 // characters
	minSpeed       = 0.25
	maxSpeed       = 4
)

// CreateSpeechInput is a request to speak a text.
// https://platform.openai.com/docs/api-reference/audio/createSpeech
type CreateSpeechInput struct {
	Model          string   `json:"model"`
	Input          string   `json:"input"`
	Voice          JSON     `json:"voice"` // a name, or an object with an id
	Instructions   *string  `json:"instructions,omitempty"`
	ResponseFormat *string  `json:"response_format,omitempty"` // default mp3
	Speed          *float64 `json:"speed,omitempty"`
	StreamFormat   *string  `json:"stream_format,omitempty"` // audio, which is the default, or sse

	Extra JSON   `json:"-"` // see [ChatCompletionInput]
	Raw   []byte `json:"-"` // see [ChatCompletionInput]
}

// Validate checks the input, and names the first mistake by its path.
func (in *CreateSpeechInput) Validate() error {
	if err := validModel(in.Model); err != nil {
		return err
	}
	if in.Input == "" {
		return Missing("input")
	}
	if n := utf8.RuneCountInString(in.Input); n > MaxSpeechInput {
		return Invalid("input", "'input' must have at most %d characters; got %d.", MaxSpeechInput, n)
	}
	switch {
	case len(in.Voice) == 0 || string(in.Voice) == "null" || string(in.Voice) == `""`:
		return Missing("voice")
	case in.Voice[0] != '"' && in.Voice[0] != '{':
		return Invalid("voice", "'voice' must be a name, or an object with an id.")
	}
	const formats = "mp3, opus, aac, flac, wav, pcm"
	if err := validChoice("response_format", in.ResponseFormat, formats, "mp3", "opus", "aac", "flac", "wav", "pcm"); err != nil {
		return err
	}
	if err := validChoice("stream_format", in.StreamFormat, "audio, sse", "audio", "sse"); err != nil {
		return err
	}
	if err := validNumbers(number[float64]{"speed", in.Speed, minSpeed, maxSpeed}); err != nil {
		return err
	}
	return validObject("extra", in.Extra)
}

// Streams says whether the client asked for events.
func (in *CreateSpeechInput) Streams() bool {
	return in.StreamFormat != nil && *in.StreamFormat == "sse"
}

// Characters is the length of the text, which speech is billed by.
func (in *CreateSpeechInput) Characters() int64 { return int64(utf8.RuneCountInString(in.Input)) }

// Speech is a spoken text.
type Speech struct{ Answer }

// Audio is the recording in base64.
func (s *Speech) Audio() string { return base64.StdEncoding.EncodeToString(s.Bytes()) }

// CreateSpeechPayload answers createSpeech.
type CreateSpeechPayload struct {
	Payload
	Speech *Speech
}
