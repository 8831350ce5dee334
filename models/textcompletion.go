package models

// Limits of a text completion.
const (
	MaxPrompts  = 128
	maxLogprobs = 5  // OpenAI's
	maxBestOf   = 20 // OpenAI's
)

// CreateTextCompletionInput is a request for a completion of a prompt, the older
// kind.
// https://platform.openai.com/docs/api-reference/completions/create
type CreateTextCompletionInput struct {
	Model            string         `json:"model"`
	Prompt           JSON           `json:"prompt"` // a text, texts, tokens, or arrays of tokens
	Suffix           *string        `json:"suffix,omitempty"`
	MaxTokens        *int           `json:"max_tokens,omitempty"`
	Temperature      *float64       `json:"temperature,omitempty"`
	TopP             *float64       `json:"top_p,omitempty"`
	N                *int           `json:"n,omitempty"`
	BestOf           *int           `json:"best_of,omitempty"`
	Logprobs         *int           `json:"logprobs,omitempty"`
	Echo             *bool          `json:"echo,omitempty"`
	Stop             StopSequences  `json:"stop,omitempty"`
	PresencePenalty  *float64       `json:"presence_penalty,omitempty"`
	FrequencyPenalty *float64       `json:"frequency_penalty,omitempty"`
	Seed             *int64         `json:"seed,omitempty"`
	User             *string        `json:"user,omitempty"`
	Metadata         Metadata       `json:"metadata,omitempty"`
	Stream           *bool          `json:"stream,omitempty"`
	StreamOptions    *StreamOptions `json:"stream_options,omitempty"`

	Texts []string `json:"-"` // Prompt over GraphQL
	Stops []string `json:"-"` // Stop over GraphQL
	Extra JSON     `json:"-"` // see [ChatCompletionInput]
	Raw   []byte   `json:"-"` // see [ChatCompletionInput]

	texts  []string
	tokens int64
}

// Validate checks the input, and names the first mistake by its path.
func (in *CreateTextCompletionInput) Validate() (err error) {
	if err := validModel(in.Model); err != nil {
		return err
	}
	if in.Texts != nil {
		in.Prompt = inputOf(in.Texts)
	}
	if in.Stops != nil {
		in.Stop = in.Stops
	}
	if in.texts, in.tokens, err = textInput("prompt", in.Prompt, MaxPrompts); err != nil {
		return err
	}
	if err := validNumbers(
		number[float64]{"temperature", in.Temperature, 0, 2},
		number[float64]{"top_p", in.TopP, 0, 1},
		number[float64]{"presence_penalty", in.PresencePenalty, -2, 2},
		number[float64]{"frequency_penalty", in.FrequencyPenalty, -2, 2},
	); err != nil {
		return err
	}
	if err := validNumbers(
		number[int]{"n", in.N, 1, MaxChoices},
		number[int]{"max_tokens", in.MaxTokens, 0, 1 << 30},
		number[int]{"best_of", in.BestOf, 0, maxBestOf},
		number[int]{"logprobs", in.Logprobs, 0, maxLogprobs},
	); err != nil {
		return err
	}
	if len(in.Stop) > MaxStops {
		return Invalid("stop", "'stop' must have at most %d sequences; got %d.", MaxStops, len(in.Stop))
	}
	if in.StreamOptions != nil && !in.Streams() {
		return Invalid("stream_options", "'stream_options' is only allowed when 'stream' is true.")
	}
	if err := in.Metadata.validate("metadata"); err != nil {
		return err
	}
	return validObject("extra", in.Extra)
}

// Prompts gives the texts, and the number of tokens that came as such. Only after Validate.
func (in *CreateTextCompletionInput) Prompts() (texts []string, tokens int64) {
	return in.texts, in.tokens
}

// Streams says whether the client asked for a stream.
func (in *CreateTextCompletionInput) Streams() bool { return in.Stream != nil && *in.Stream }

// WantsUsage says whether the client asked for the usage chunk.
func (in *CreateTextCompletionInput) WantsUsage() bool {
	return in.StreamOptions != nil && in.StreamOptions.IncludeUsage != nil && *in.StreamOptions.IncludeUsage
}

// TextCompletion is a finished completion of a prompt: OpenAI's text_completion.
type TextCompletion struct {
	Answer

	body *TextCompletionBody
}

// TextCompletionBody are the fields of a text completion that the product knows.
// An event of a streamed one has the same.
type TextCompletionBody struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []TextChoice `json:"choices"`
	Usage   JSON         `json:"usage,omitempty"`
}

// TextChoice is one text.
type TextChoice struct {
	Index        int           `json:"index"`
	Text         string        `json:"text"`
	Logprobs     JSON          `json:"logprobs"`
	FinishReason *FinishReason `json:"finish_reason"`
}

// Body is the decoded answer.
func (c *TextCompletion) Body() (*TextCompletionBody, error) { return decodeAnswer(&c.Answer, &c.body) }

// ID is the completion's id.
func (c *TextCompletion) ID() (string, error) {
	return read(c.Body, func(b *TextCompletionBody) string { return b.ID })
}

// Created is when it was made, in Unix seconds.
func (c *TextCompletion) Created() (int64, error) {
	return read(c.Body, func(b *TextCompletionBody) int64 { return b.Created })
}

// Model is the model that answered.
func (c *TextCompletion) Model() (string, error) {
	return read(c.Body, func(b *TextCompletionBody) string { return b.Model })
}

// Choices are the texts.
func (c *TextCompletion) Choices() ([]TextChoice, error) {
	return read(c.Body, func(b *TextCompletionBody) []TextChoice { return b.Choices })
}

// CreateTextCompletionPayload answers createTextCompletion.
type CreateTextCompletionPayload struct {
	Payload
	TextCompletion *TextCompletion
}
