package anthropic

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// writer writes the chunks of one answer. All share what they begin with.
type writer struct{ head string }

func newWriter(id, model string) writer {
	head := append([]byte(`{"id":`), gjson.AppendJSONString(nil, id)...)
	head = append(head, `,"object":"chat.completion.chunk","created":`...)
	head = strconv.AppendInt(head, time.Now().Unix(), 10)
	head = append(head, `,"model":`...)
	head = gjson.AppendJSONString(head, model)
	return writer{head: string(head) + `,"choices":[`}
}

// delta is a chunk that adds to the answer.
func (w writer) delta(delta string) []byte {
	const tail = `,"logprobs":null,"finish_reason":null}]}`
	out := make([]byte, 0, len(w.head)+len(delta)+len(tail)+24)
	out = append(append(out, w.head...), `{"index":0,"delta":`...)
	return append(append(out, delta...), tail...)
}

// finish is the chunk that says why the answer ended.
func (w writer) finish(reason models.FinishReason) []byte {
	return append([]byte(w.head), `{"index":0,"delta":{},"logprobs":null,"finish_reason":"`+string(reason)+`"}]}`...)
}

// usage is the chunk after the last choice.
func (w writer) usage(u *models.Usage) ([]byte, error) {
	raw, err := json.Marshal(u)
	if err != nil {
		return nil, fmt.Errorf("encode usage: %w", err)
	}
	return append(append(append([]byte(w.head), `],"usage":`...), raw...), '}'), nil
}
