package providers

import "bytes"

// PlainText gives the text of a chunk that is the next piece of a single choice's
// content, without escapes, and no more, in the form in which OpenAI sends it.
// Nearly all chunks are that, and need no parser. Quotes inside a JSON string are
// escaped: what is looked for cannot be in one. The text is not nil when ok.
func PlainText(raw []byte) (text []byte, ok bool) {
	const (
		delta  = `"delta":{"content":"`
		reason = `"finish_reason":`
	)
	at := bytes.Index(raw, []byte(delta))
	if at < 0 {
		return nil, false
	}
	text = raw[at+len(delta):]
	end := bytes.IndexByte(text, '"')
	if end < 0 || bytes.IndexByte(text[:end], '\\') >= 0 {
		return nil, false
	}
	text, rest := text[:end], text[end+1:]
	if len(rest) == 0 || rest[0] != '}' || bytes.Contains(rest, []byte(`"delta"`)) || bytes.Contains(raw[:at], []byte(`"delta"`)) {
		return nil, false
	}
	for _, part := range [][]byte{raw[:at], rest} {
		if at := bytes.Index(part, []byte(`"finish_reason"`)); at >= 0 && !bytes.HasPrefix(part[at:], []byte(reason+"null")) {
			return nil, false
		}
	}
	return text, true
}
