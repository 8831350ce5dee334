package openai

import (
	"bytes"
	"unicode/utf8"

	"github.com/coaidev/coai/internal/providers"
)

// maxMisses is how many chunks in a row may differ from the pattern in more than
// their text before it is given up: some upstreams have something new in each.
const maxMisses = 8

// pattern is a chunk that was checked, and found to be nothing but a piece of text.
// Another that differs from it in the text alone needs no check but of the text.
type pattern struct {
	head, tail []byte // before and behind the text
	misses     int
}

// text gives the text of a chunk that follows the pattern, else nil.
func (p *pattern) text(raw []byte) []byte {
	if p.head == nil || len(raw) < len(p.head)+len(p.tail) || !bytes.HasPrefix(raw, p.head) || !bytes.HasSuffix(raw, p.tail) {
		return nil
	}
	text := raw[len(p.head) : len(raw)-len(p.tail)]
	ascii := true
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			return nil
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid(text) {
		return nil
	}
	p.misses = 0
	return text
}

// learn takes a chunk that was checked, and is passed on as it came, for the
// pattern, if it is a piece of text and nothing else.
func (p *pattern) learn(raw []byte) {
	text, ok := providers.PlainText(raw)
	if !ok || p.misses >= maxMisses {
		return
	}
	if p.misses++; p.misses == maxMisses {
		*p = pattern{misses: maxMisses}
		return
	}
	at := cap(raw) - cap(text)
	p.head = append(p.head[:0], raw[:at]...)
	p.tail = append(p.tail[:0], raw[at+len(text):]...)
}
