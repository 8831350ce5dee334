package models

import (
	"encoding/base64"
	"encoding/binary"
	"path"
	"strings"
)

// MaxAudioFile is how many bytes a recording to transcribe may have: OpenAI's limit.
const MaxAudioFile = 25 << 20

// CreateTranscriptionInput is a request to write down a recording. Over REST it
// is a form, which comes along in Raw, and of the file only Head and Size are set.
// https://platform.openai.com/docs/api-reference/audio/createTranscription
type CreateTranscriptionInput struct {
	Model          string
	File           string // the recording in base64; over GraphQL
	Filename       string
	Language       *string
	Prompt         *string
	ResponseFormat *string // default json
	Temperature    *float64
	Stream         *bool

	Audio       []byte // what File holds, after Validate
	Head        []byte // the first bytes of the recording
	Size        int64  // of the recording
	Raw         []byte // the form; nil over GraphQL
	ContentType string // of Raw, with its boundary
}

// Validate checks the input, and names the first mistake by its field.
func (in *CreateTranscriptionInput) Validate() error {
	if err := validModel(in.Model); err != nil {
		return err
	}
	if in.Raw == nil {
		if err := in.decodeFile(); err != nil {
			return err
		}
	}
	switch {
	case in.Size == 0:
		return Missing("file")
	case in.Size > MaxAudioFile:
		return &Error{
			Kind: KindTooLarge, Code: CodeRequestTooLarge, Param: "file",
			Message: "'file' must have at most 25 MiB.",
		}
	}
	switch strings.ToLower(path.Ext(in.Filename)) {
	case ".flac", ".mp3", ".mp4", ".mpeg", ".mpga", ".m4a", ".ogg", ".wav", ".webm":
	default:
		return Invalid("file", "The name of 'file' must end with one of flac, mp3, mp4, mpeg, mpga, m4a, ogg, wav, webm; got '%s'.", clip(in.Filename, 80))
	}
	const formats = "json, text, srt, verbose_json, vtt, diarized_json"
	if err := validChoice("response_format", in.ResponseFormat, formats, "json", "text", "srt", "verbose_json", "vtt", "diarized_json"); err != nil {
		return err
	}
	if in.Language != nil {
		if err := validName("language", *in.Language, 1, 35); err != nil {
			return err
		}
	}
	return validNumbers(number[float64]{"temperature", in.Temperature, 0, 1})
}

func (in *CreateTranscriptionInput) decodeFile() error {
	if base64.StdEncoding.DecodedLen(len(in.File)) > MaxAudioFile+3 {
		return Invalid("file", "'file' must have at most 25 MiB.")
	}
	audio, err := base64.StdEncoding.DecodeString(in.File)
	if err != nil {
		return Invalid("file", "'file' must be in base64.")
	}
	const head = 64
	in.Audio, in.Size, in.Head = audio, int64(len(audio)), audio[:min(head, len(audio))]
	return nil
}

// Streams says whether the client asked for a stream.
func (in *CreateTranscriptionInput) Streams() bool { return in.Stream != nil && *in.Stream }

// AudioMS is how long the recording is: exact for plain WAV, else guessed by the
// 128 kbit/s that most recordings have at most.
func (in *CreateTranscriptionInput) AudioMS() int64 {
	const headerSize, rateAt, guess = 44, 28, 16 // guess: bytes in a millisecond
	if h := in.Head; len(h) >= headerSize && string(h[:4]) == "RIFF" && string(h[8:12]) == "WAVE" {
		if rate := int64(binary.LittleEndian.Uint32(h[rateAt:])); rate > 0 {
			return max(0, in.Size-headerSize) * 1000 / rate
		}
	}
	return in.Size / guess
}

// Transcription is a written-down recording.
type Transcription struct {
	Answer

	body *transcriptionBody
}

type transcriptionBody struct {
	Text     string   `json:"text"`
	Language *string  `json:"language"`
	Duration *float64 `json:"duration"`
}

// decode takes an answer that is not JSON for the text.
func (t *Transcription) decode() (*transcriptionBody, error) {
	if t.body == nil && !strings.Contains(t.ContentType, "json") {
		t.body = &transcriptionBody{Text: string(t.Bytes())}
	}
	return decodeAnswer(&t.Answer, &t.body)
}

// Raw is the answer, with the fields that are not typed; nil when it is not JSON.
func (t *Transcription) Raw() JSON {
	if !strings.Contains(t.ContentType, "json") {
		return nil
	}
	return t.Answer.Raw()
}

// Text is what was said.
func (t *Transcription) Text() (string, error) {
	return read(t.decode, func(b *transcriptionBody) string { return b.Text })
}

// Language is the language of the recording, where the upstream tells.
func (t *Transcription) Language() (*string, error) {
	return read(t.decode, func(b *transcriptionBody) *string { return b.Language })
}

// Duration is the length of the recording in seconds, where the upstream tells.
func (t *Transcription) Duration() (*float64, error) {
	return read(t.decode, func(b *transcriptionBody) *float64 { return b.Duration })
}

// CreateTranscriptionPayload answers createTranscription.
type CreateTranscriptionPayload struct {
	Payload
	Transcription *Transcription
}
