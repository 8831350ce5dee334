package chat

import (
	"encoding/json"
	"testing"
)

func TestMendEmbeddings(t *testing.T) {
	for name, c := range map[string]struct {
		in       string
		asBase64 bool
		want     string // empty: an error
	}{
		"right already":   {`{"data":[{"embedding":[1,2]}],"x":1}`, false, `{"data":[{"embedding":[1,2]}],"x":1}`},
		"to base64":       {`{"data":[{"index":0,"embedding":[0.5,-1]}]}`, true, `{"data":[{"index":0,"embedding":"AAAAPwAAgL8="}]}`},
		"to numbers":      {`{"data":[{"index":0,"embedding":"AAAAPwAAgL8="}]}`, false, `{"data":[{"index":0,"embedding":[0.5,-1]}]}`},
		"mixed":           {`{"data":[{"embedding":[0.5]},{"embedding":"AAAAPw=="}]}`, false, `{"data":[{"embedding":[0.5]},{"embedding":[0.5]}]}`},
		"no data":         {`{}`, false, ""},
		"not base64":      {`{"data":[{"embedding":"?"}]}`, false, ""},
		"not of 4 bytes":  {`{"data":[{"embedding":"AAA="}]}`, false, ""},
		"not a number":    {`{"data":[{"embedding":"AADAfw=="}]}`, false, ""},
		"not a vector":    {`{"data":[{"embedding":{}}]}`, true, ""},
		"without vectors": {`{"data":[]}`, true, `{"data":[]}`},
	} {
		got, err := mendEmbeddings([]byte(c.in), c.asBase64)
		if (err != nil) != (c.want == "") || err == nil && string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
}

func FuzzMendEmbeddings(f *testing.F) {
	f.Add([]byte(`{"data":[{"embedding":[0.5,-1]},{"embedding":"AAAAPw=="}]}`), true)
	f.Fuzz(func(t *testing.T, raw []byte, asBase64 bool) {
		if !json.Valid(raw) {
			t.Skip()
		}
		if out, err := mendEmbeddings(raw, asBase64); err == nil && !json.Valid(out) {
			t.Errorf("not JSON: %s", out)
		}
	})
}
