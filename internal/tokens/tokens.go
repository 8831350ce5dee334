// Package tokens counts tokens locally, for upstreams that report no usage and
// for the built-in model. It counts by o200k_base, the encoding of OpenAI's
// models since GPT-4o; for other models the numbers are estimates.
package tokens

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"
)

// chunk bounds, in bytes, what is encoded at a time. The encoder's memory is a
// multiple of its input, and its time grows faster than the length of a run
// without boundaries. Cutting a longer run costs a token or so for each cut.
const chunk = 8 << 10

// The vocabulary has 200,000 entries: about 20 MiB, and tens of milliseconds to build.
//
//nolint:gochecknoglobals // a constant table, too large to build before somebody counts or to build twice
var encoder = sync.OnceValue(codec.NewO200kBase)

// Count is the number of o200k_base tokens in text; special tokens count as
// the plain text they are. Invalid UTF-8 counts as replacement characters. It
// is safe for concurrent use and takes time in proportion to the text's length,
// whatever it holds. Texts longer than 8 KiB may come out a few tokens high.
// A KiB takes some
// 60 µs; the first call builds the vocabulary, in tens of milliseconds.
func Count(text string) int64 {
	text = strings.ToValidUTF8(text, "\uFFFD")
	var n int64
	for text != "" {
		part := text[:boundary(text)]
		text = text[len(part):]
		c, err := encoder().Count(part)
		if err != nil { // the splitting pattern gave up: no known text makes it
			c = (len(part) + 3) / 4
		}
		n += int64(c)
	}
	return n
}

// Truncate cuts text to a prefix of at most most tokens, as [Count] counts,
// that ends with a whole character. It says whether something was cut off. Where
// the text is not valid UTF-8 the prefix has replacement characters.
func Truncate(text string, most int64) (prefix string, cut bool) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	left := most
	for rest := text; rest != ""; {
		part := rest[:boundary(rest)]
		_, pieces, err := encoder().Encode(part)
		if err != nil || int64(len(pieces)) > left {
			end := len(text) - len(rest)
			for _, p := range pieces[:min(left, int64(len(pieces)))] {
				end += len(p)
			}
			return shorten(text[:min(end, len(text))], most), true
		}
		left -= int64(len(pieces))
		rest = rest[len(part):]
	}
	return text, false
}

// shorten drops characters from the end until the text, encoded by itself, is
// within most tokens: a prefix of a text's tokens may be encoded otherwise than
// the whole.
func shorten(text string, most int64) string {
	for {
		for r, n := utf8.DecodeLastRuneInString(text); r == utf8.RuneError && n == 1; r, n = utf8.DecodeLastRuneInString(text) {
			text = text[:len(text)-1]
		}
		over := Count(text) - most
		if text == "" || over <= 0 {
			return text
		}
		text = text[:max(0, len(text)-int(over))]
	}
}

// boundary is where to cut a text so that the first part is at most a chunk:
// before the last space that follows something else, as the encoder splits
// there anyway, else between two characters.
func boundary(text string) int {
	if len(text) <= chunk {
		return len(text)
	}
	for i := chunk; i > chunk/2; i-- {
		if text[i] == ' ' && text[i-1] > ' ' && text[i-1] < utf8.RuneSelf {
			return i
		}
	}
	for i := chunk; i > chunk-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			return i
		}
	}
	return chunk
}
