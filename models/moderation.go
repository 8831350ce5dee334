package models

import (
	"strconv"

	"github.com/tidwall/gjson"
)

const (
	// DefaultModerationModel is asked when a request names none: OpenAI's default.
	DefaultModerationModel = "omni-moderation-latest"
	maxModerationInputs    = 128
)

// CreateModerationInput is a request to classify texts and images.
// https://platform.openai.com/docs/api-reference/moderations/create
type CreateModerationInput struct {
	Model string `json:"model"`
	Input JSON   `json:"input"` // a text, texts, or parts with a type

	Texts []string `json:"-"` // Input over GraphQL
	Extra JSON     `json:"-"` // see [ChatCompletionInput]
	Raw   []byte   `json:"-"` // see [ChatCompletionInput]
}

// Validate checks the input, fills in the model, and names the first mistake by
// its path.
func (in *CreateModerationInput) Validate() error {
	if in.Model == "" {
		in.Model = DefaultModerationModel
	}
	if err := validModel(in.Model); err != nil {
		return err
	}
	if in.Texts != nil {
		in.Input = inputOf(in.Texts)
	}
	root := gjson.ParseBytes(in.Input)
	switch {
	case len(in.Input) == 0 || root.Type == gjson.Null:
		return Missing("input")
	case root.Type == gjson.String:
		return validObject("extra", in.Extra)
	case !root.IsArray():
		return Invalid("input", "'input' must be a string, an array of strings, or an array of parts.")
	}
	n := 0
	var err error
	root.ForEach(func(_, v gjson.Result) bool {
		at := "input[" + strconv.Itoa(n) + "]"
		n++
		switch {
		case v.IsObject() && v.Get("type").Str == "":
			err = Missing(at + ".type")
		case v.Type != gjson.String && !v.IsObject():
			err = Invalid(at, "'%s' must be a string, or an object with a type.", at)
		case n > maxModerationInputs:
			err = Invalid("input", "'input' must have at most %d items.", maxModerationInputs)
		}
		return err == nil
	})
	if err == nil && n == 0 {
		err = Invalid("input", "'input' must not be empty.")
	}
	if err != nil {
		return err
	}
	return validObject("extra", in.Extra)
}

// Moderation is what a classifier found.
type Moderation struct {
	Answer

	body *moderationBody
}

type moderationBody struct {
	ID      string             `json:"id"`
	Model   string             `json:"model"`
	Results []ModerationResult `json:"results"`
}

// ModerationResult is what was found in one item of the input.
type ModerationResult struct {
	Flagged        bool `json:"flagged"`
	Categories     JSON `json:"categories"`
	CategoryScores JSON `json:"category_scores"`
}

func (m *Moderation) decode() (*moderationBody, error) { return decodeAnswer(&m.Answer, &m.body) }

// ID is the answer's id.
func (m *Moderation) ID() (string, error) {
	return read(m.decode, func(b *moderationBody) string { return b.ID })
}

// Model is the model that answered.
func (m *Moderation) Model() (string, error) {
	return read(m.decode, func(b *moderationBody) string { return b.Model })
}

// Results are what was found, in the order of the input.
func (m *Moderation) Results() ([]ModerationResult, error) {
	return read(m.decode, func(b *moderationBody) []ModerationResult { return b.Results })
}

// CreateModerationPayload answers createModeration.
type CreateModerationPayload struct {
	Payload
	Moderation *Moderation
}
