package chat

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime/multipart"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/models"
)

// requestBody is what goes to a provider: the client's own bytes where there are
// some, else the input as JSON with the extra members that it does not have.
func requestBody(in any, raw []byte, extra models.JSON) ([]byte, error) {
	if raw != nil {
		return raw, nil
	}
	out, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(extra) == 0 {
		return out, nil
	}
	has := map[string]bool{}
	gjson.ParseBytes(out).ForEach(func(key, _ gjson.Result) bool {
		has[key.Str] = true
		return true
	})
	out = out[:len(out)-1] // the input always has a member, its model
	gjson.ParseBytes(extra).ForEach(func(key, value gjson.Result) bool {
		if name := strings.ToLower(key.Str); key.Type == gjson.String && !has[name] && name != "stream" && name != "stream_format" {
			has[name] = true
			out = append(append(append(append(out, ','), key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	return append(out, '}'), nil
}

// transcriptionForm is the client's own form, or one with the input's fields.
func transcriptionForm(in *models.CreateTranscriptionInput) (body []byte, contentType string, err error) {
	if in.Raw != nil {
		return in.Raw, in.ContentType, nil
	}
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	field := func(name string, v *string) {
		if v != nil && err == nil {
			err = form.WriteField(name, *v)
		}
	}
	field("model", &in.Model)
	field("language", in.Language)
	field("prompt", in.Prompt)
	field("response_format", in.ResponseFormat)
	if in.Temperature != nil {
		text := strconv.FormatFloat(*in.Temperature, 'g', -1, 64)
		field("temperature", &text)
	}
	if err == nil {
		part, failed := form.CreateFormFile("file", in.Filename)
		if err = failed; err == nil {
			_, err = part.Write(in.Audio)
		}
	}
	if err = errors.Join(err, form.Close()); err != nil {
		return nil, "", fmt.Errorf("write form: %w", err)
	}
	return b.Bytes(), form.FormDataContentType(), nil
}

// mendEmbeddings brings the vectors into the format that was asked for: arrays
// of numbers, or base64 of 32-bit floats, little endian. Not all upstreams know both.
func mendEmbeddings(raw []byte, asBase64 bool) ([]byte, error) {
	data := gjson.GetBytes(raw, "data")
	if !data.IsArray() {
		return nil, errors.New("it has no data")
	}
	right := true
	data.ForEach(func(_, item gjson.Result) bool {
		right = right && (item.Get("embedding").Type == gjson.String) == asBase64
		return right
	})
	if right {
		return raw, nil
	}
	out := []byte{'['}
	var err error
	data.ForEach(func(_, item gjson.Result) bool {
		if len(out) > 1 {
			out = append(out, ',')
		}
		entry := []byte(item.Raw)
		if vector := item.Get("embedding"); (vector.Type == gjson.String) != asBase64 {
			var value []byte
			if value, err = convertVector(vector); err == nil {
				entry, err = sjson.SetRawBytes(entry, "embedding", value)
			}
		}
		out = append(out, entry...)
		return err == nil
	})
	if err == nil {
		raw, err = sjson.SetRawBytes(raw, "data", append(out, ']'))
	}
	if err != nil {
		return nil, fmt.Errorf("convert embeddings: %w", err)
	}
	return raw, nil
}

// convertVector turns numbers into base64, and base64 into numbers.
func convertVector(vector gjson.Result) ([]byte, error) {
	const size = 4
	switch {
	case vector.IsArray():
		var packed []byte
		vector.ForEach(func(_, v gjson.Result) bool {
			packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(float32(v.Num)))
			return true
		})
		return append(base64.StdEncoding.AppendEncode([]byte{'"'}, packed), '"'), nil
	case vector.Type == gjson.String:
		packed, err := base64.StdEncoding.DecodeString(vector.Str)
		if err != nil || len(packed)%size != 0 {
			return nil, errors.New("a vector is not base64 of 32-bit floats")
		}
		out := []byte{'['}
		for i := 0; i < len(packed); i += size {
			f := float64(math.Float32frombits(binary.LittleEndian.Uint32(packed[i:])))
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, errors.New("a vector holds what is not a number")
			}
			if i > 0 {
				out = append(out, ',')
			}
			out = strconv.AppendFloat(out, f, 'g', -1, 32)
		}
		return append(out, ']'), nil
	}
	return nil, errors.New("a vector is neither numbers nor base64")
}
