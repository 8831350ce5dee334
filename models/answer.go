package models

import (
	"encoding/json"
	"fmt"
	"io"
)

// Answer is what an endpoint beside chat has answered, in OpenAI's bytes.
type Answer struct {
	ContentType string
	Usage       *Usage // as accounted; nil when it is free, or not settled yet
	ChannelID   string // the channel that answered; set for admins only
	// Body gives the bytes as they come, for the REST face, which closes it. A
	// failure after the beginning is an *Error. Nil: the answer is whole.
	Body io.ReadCloser

	raw []byte
}

// NewAnswer wraps a whole answer.
func NewAnswer(contentType string, raw []byte, u *Usage, channelID string) Answer {
	return Answer{ContentType: contentType, Usage: u, ChannelID: channelID, raw: raw}
}

// Bytes are a whole answer.
func (a *Answer) Bytes() []byte { return a.raw }

// Raw is a whole JSON answer, with the fields that are not typed.
func (a *Answer) Raw() JSON { return JSON(a.raw) }

// decodeAnswer decodes a whole answer when somebody reads a field.
func decodeAnswer[B any](a *Answer, body **B) (*B, error) {
	if *body == nil {
		*body = new(B)
		if err := json.Unmarshal(a.raw, *body); err != nil {
			return nil, fmt.Errorf("decode answer: %w", err)
		}
	}
	return *body, nil
}

// number is a parameter with bounds.
type number[T int | float64] struct {
	param       string
	v           *T
	least, most T
}

func validNumbers[T int | float64](list ...number[T]) error {
	for _, n := range list {
		if n.v != nil && !(*n.v >= n.least && *n.v <= n.most) {
			return Invalid(n.param, "'%s' must be between %v and %v; got %v.", n.param, n.least, n.most, *n.v)
		}
	}
	return nil
}

// validChoice checks a text that must be one of a few.
func validChoice(param string, v *string, choices string, ok ...string) error {
	if v == nil {
		return nil
	}
	for _, c := range ok {
		if *v == c {
			return nil
		}
	}
	return Invalid(param, "'%s' must be one of %s; got '%s'.", param, choices, clip(*v, 40))
}

func validModel(model string) error {
	if model == "" {
		return Missing("model")
	}
	return validName("model", model, 1, maxModelName)
}
