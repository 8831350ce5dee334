package models

import (
	"encoding/json"

	"github.com/tidwall/gjson"
)

// textInput reads what several endpoints take: a text, texts, the tokens of a
// text, or the tokens of texts. It checks it, and gives the texts and the number
// of tokens beside them.
func textInput(param string, raw JSON, most int) (texts []string, tokens int64, err error) {
	root := gjson.ParseBytes(raw)
	const want = "a string, an array of strings, an array of tokens or an array of token arrays"
	switch {
	case len(raw) == 0 || root.Type == gjson.Null:
		return nil, 0, Missing(param)
	case root.Type == gjson.String:
		if root.Str == "" {
			return nil, 0, Invalid(param, "'%s' must not be empty.", param)
		}
		return []string{root.Str}, 0, nil
	case !root.IsArray():
		return nil, 0, Invalid(param, "'%s' must be %s.", param, want)
	}
	items := 0
	var kind gjson.Type
	root.ForEach(func(_, v gjson.Result) bool {
		at := indexed(param, items)
		if items == 0 {
			kind = v.Type
		}
		switch {
		case v.Type != kind:
			err = Invalid(at, "'%s' must be of the same type as what is before it: '%s' must be %s.", at, param, want)
		case kind == gjson.Number:
			err = validToken(at, v)
			tokens++
		case items == most:
			err = Invalid(param, "'%s' must have at most %d items.", param, most)
		case kind == gjson.String && v.Str == "":
			err = Invalid(at, "'%s' must not be empty.", at)
		case kind == gjson.String:
			texts = append(texts, v.Str)
		case v.IsArray():
			n := 0
			v.ForEach(func(_, token gjson.Result) bool {
				err = validToken(indexed(at, n), token)
				n++
				return err == nil
			})
			if tokens += int64(n); n == 0 {
				err = Invalid(at, "'%s' must not be empty.", at)
			}
		default:
			err = Invalid(at, "'%s' must be %s.", param, want)
		}
		items++
		return err == nil
	})
	if err == nil && items == 0 {
		err = Invalid(param, "'%s' must not be empty.", param)
	}
	return texts, tokens, err
}

func validToken(at string, v gjson.Result) error {
	const most = 1 << 31
	if v.Type != gjson.Number || v.Num < 0 || v.Num > most || v.Num != float64(int64(v.Num)) {
		return Invalid(at, "'%s' must be a token: a whole number.", at)
	}
	return nil
}

// inputOf is the JSON of what GraphQL gives as texts.
func inputOf(texts []string) JSON {
	if texts == nil {
		return nil
	}
	b, err := json.Marshal(texts)
	if err != nil { // strings always encode
		return nil
	}
	return b
}
