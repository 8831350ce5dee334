package models

// MaxEmbeddingInputs is how many texts one request may have embedded: OpenAI's limit.
const MaxEmbeddingInputs = 2048

// CreateEmbeddingInput is a request for embeddings.
// https://platform.openai.com/docs/api-reference/embeddings/create
type CreateEmbeddingInput struct {
	Model          string  `json:"model"`
	Input          JSON    `json:"input"`                     // a text, texts, tokens, or arrays of tokens
	EncodingFormat *string `json:"encoding_format,omitempty"` // float, which is the default, or base64
	Dimensions     *int    `json:"dimensions,omitempty"`
	User           *string `json:"user,omitempty"`

	Texts []string `json:"-"` // Input over GraphQL
	Extra JSON     `json:"-"` // see [ChatCompletionInput]
	Raw   []byte   `json:"-"` // see [ChatCompletionInput]

	texts  []string
	tokens int64
}

// Validate checks the input, and names the first mistake by its path.
func (in *CreateEmbeddingInput) Validate() (err error) {
	if err := validModel(in.Model); err != nil {
		return err
	}
	if in.Texts != nil {
		in.Input = inputOf(in.Texts)
	}
	if in.texts, in.tokens, err = textInput("input", in.Input, MaxEmbeddingInputs); err != nil {
		return err
	}
	if err := validChoice("encoding_format", in.EncodingFormat, "float, base64", "float", "base64"); err != nil {
		return err
	}
	if err := validNumbers(number[int]{"dimensions", in.Dimensions, 1, 1 << 16}); err != nil {
		return err
	}
	return validObject("extra", in.Extra)
}

// Prompt gives the texts, and the number of tokens that came as such. Only after Validate.
func (in *CreateEmbeddingInput) Prompt() (texts []string, tokens int64) { return in.texts, in.tokens }

// EmbeddingList is an answer with embeddings: OpenAI's list.
type EmbeddingList struct {
	Answer

	body *embeddingBody
}

type embeddingBody struct {
	Model string      `json:"model"`
	Data  []Embedding `json:"data"`
}

// Embedding is the vector of one text.
type Embedding struct {
	Index     int       `json:"index"`
	Embedding []float64 `json:"embedding"`
}

func (l *EmbeddingList) decode() (*embeddingBody, error) { return decodeAnswer(&l.Answer, &l.body) }

// Model is the model that answered.
func (l *EmbeddingList) Model() (string, error) {
	return read(l.decode, func(b *embeddingBody) string { return b.Model })
}

// Data are the vectors, in the order of the input.
func (l *EmbeddingList) Data() ([]Embedding, error) {
	return read(l.decode, func(b *embeddingBody) []Embedding { return b.Data })
}

// CreateEmbeddingPayload answers createEmbedding.
type CreateEmbeddingPayload struct {
	Payload
	Embeddings *EmbeddingList
}
