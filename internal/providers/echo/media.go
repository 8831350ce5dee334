package echo

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

const (
	defaultDimensions = 256
	maxDimensions     = 4096
	imageSize         = 8 // pixels, in both directions
	sampleRate        = 8000
	samplesPerRune    = 80 // 10 ms
	maxSpoken         = models.MaxSpeechInput
)

// seed is the same for the same text.
func seed(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}

// embeddings gives each text a vector of length 1 that depends on nothing but
// the text, and does not mean anything.
func embeddings(call providers.Call) (*providers.Reply, error) {
	dimensions := defaultDimensions
	if d := gjson.GetBytes(call.Body, "dimensions"); d.Exists() {
		dimensions = int(d.Int())
	}
	texts := inputs(call.Body)
	if dimensions < 1 || dimensions > maxDimensions {
		return nil, invalid("dimensions", fmt.Sprintf("The echo model makes vectors of 1 to %d dimensions.", maxDimensions))
	}
	const maxNumbers = 1 << 20
	if dimensions*len(texts) > maxNumbers {
		return nil, invalid("input", fmt.Sprintf("The echo model makes at most %d numbers at a time.", maxNumbers))
	}
	asBase64 := gjson.GetBytes(call.Body, "encoding_format").Str == "base64"
	type item struct {
		Object    string `json:"object"`
		Index     int    `json:"index"`
		Embedding any    `json:"embedding"`
	}
	data := make([]item, len(texts))
	var used int64
	for i, text := range texts {
		used += tokens.Count(text)
		v := vector(text, dimensions)
		data[i] = item{Object: "embedding", Index: i, Embedding: v}
		if asBase64 {
			packed := make([]byte, 0, 4*len(v))
			for _, f := range v {
				packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(f))
			}
			data[i].Embedding = base64.StdEncoding.EncodeToString(packed)
		}
	}
	return jsonReply(map[string]any{
		"object": "list", "model": call.Model, "data": data,
		"usage": map[string]int64{"prompt_tokens": used, "total_tokens": used},
	})
}

func vector(text string, dimensions int) []float32 {
	random := rand.New(rand.NewPCG(seed(text), 0)) // repeatable on purpose
	v := make([]float32, dimensions)
	sum := 0.0
	for i := range v {
		f := random.NormFloat64()
		v[i] = float32(f)
		sum += f * f
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

// images gives small pictures in the colour of their prompt.
func images(call providers.Call) (*providers.Reply, error) {
	prompt := gjson.GetBytes(call.Body, "prompt").Str
	n := int64(1)
	if v := gjson.GetBytes(call.Body, "n"); v.Type == gjson.Number {
		n = min(max(v.Int(), 1), models.MaxImages)
	}
	if call.Stream {
		return nil, invalid("stream", "The echo model does not stream images.")
	}
	hash := seed(prompt)
	picture := image.NewRGBA(image.Rect(0, 0, imageSize, imageSize))
	for i := range imageSize * imageSize {
		picture.Set(i%imageSize, i/imageSize, color.RGBA{R: byte(hash), G: byte(hash >> 8), B: byte(hash >> 16), A: math.MaxUint8})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		return nil, fmt.Errorf("encode image: %w", err)
	}
	data := make([]map[string]string, n)
	for i := range data {
		data[i] = map[string]string{"b64_json": base64.StdEncoding.EncodeToString(b.Bytes()), "revised_prompt": prompt}
	}
	used := tokens.Count(prompt)
	return jsonReply(map[string]any{
		"created": now(), "data": data,
		"usage": map[string]any{
			"input_tokens": used, "output_tokens": n, "total_tokens": used + n,
			"input_tokens_details": map[string]int64{"text_tokens": used, "image_tokens": 0},
		},
	})
}

// speech is a WAV file of 10 ms for each character: a tone. It is WAV whatever
// format was asked for.
func speech(call providers.Call) *providers.Reply {
	input := gjson.GetBytes(call.Body, "input").Str
	wav := tone(min(len([]rune(input)), maxSpoken)*samplesPerRune, seed(input))
	if !call.Stream {
		return bytesReply("audio/wav", wav)
	}
	used := tokens.Count(input)
	out := fmt.Appendf(nil, "data: {\"type\":\"speech.audio.delta\",\"audio\":%q}\n\n", base64.StdEncoding.EncodeToString(wav))
	out = fmt.Appendf(out, "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":%d,\"output_tokens\":%d,\"total_tokens\":%d}}\n\n", used, 1, used+1)
	return bytesReply("text/event-stream", out)
}

// tone is a WAV file of 8-bit samples, whose pitch follows from the hash.
// http://soundfile.sapp.org/doc/WaveFormat/
func tone(samples int, hash uint64) []byte {
	const header, formatSize, pcm, mono, bits = 36, 16, 1, 1, 8
	le := binary.LittleEndian
	out := append([]byte("RIFF"), le.AppendUint32(nil, uint32(header+samples))...) // at most 4096 characters
	out = le.AppendUint32(append(out, "WAVEfmt "...), formatSize)
	out = le.AppendUint16(le.AppendUint16(out, pcm), mono)
	out = le.AppendUint32(le.AppendUint32(out, sampleRate), sampleRate)
	out = le.AppendUint16(le.AppendUint16(out, 1), bits)
	out = le.AppendUint32(append(out, "data"...), uint32(samples))
	pitch := 200 + float64(hash%400)
	for i := range samples {
		out = append(out, byte(128+64*math.Sin(2*math.Pi*pitch*float64(i)/sampleRate)))
	}
	return out
}
