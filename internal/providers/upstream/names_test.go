package upstream_test

import (
	"testing"

	"github.com/coaidev/coai/internal/providers/upstream"
)

func FuzzDataPage(f *testing.F) {
	f.Add([]byte(`{"object":"list","data":[{"id":"gpt-5","object":"model"}]}`))
	f.Add([]byte(`{"data":[{"type":"model","id":"claude"}],"has_more":true,"first_id":"claude","last_id":"claude"}`))
	f.Add([]byte(`{"data":null,"has_more":true}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		names, next, err := upstream.DataPage("after")(body)
		if err != nil && (names != nil || next != nil) {
			t.Errorf("%v with %v and %v", err, names, next)
		}
		if next != nil && next.Get("after") == "" {
			t.Errorf("the next page begins nowhere: %v", next)
		}
	})
}
