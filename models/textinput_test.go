package models_test

import (
	"encoding/json"
	"testing"

	"github.com/coaidev/coai/models"
)

func FuzzCreateEmbeddingInput(f *testing.F) {
	for _, s := range []string{`"a"`, `["a","b"]`, `[1,2]`, `[[1],[2,3]]`, `[]`, `[1,"a"]`, `null`, `{}`, `[-1]`, `[1e99]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if !json.Valid(input) {
			t.Skip()
		}
		in := models.CreateEmbeddingInput{Model: "m", Input: input}
		err := in.Validate()
		texts, tokens := in.Prompt()
		if err == nil && len(texts) == 0 && tokens == 0 {
			t.Errorf("%s passes and says nothing", input)
		}
		if _, known := models.AsError(err); err != nil && !known {
			t.Errorf("an error that clients cannot read: %v", err)
		}
	})
}
