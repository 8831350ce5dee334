package rest

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

const (
	maxForm      = models.MaxAudioFile + 1<<20 // bytes: the file and what is around it
	maxFormParts = 100
	maxFormField = 64 << 10 // bytes
	headSize     = 64       // bytes of a file that tell what it is
)

// createTranscription writes down a recording, whole or as a stream.
// https://platform.openai.com/docs/api-reference/audio/createTranscription
func (h *handler) createTranscription(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	body, err := readBody(w, r, maxForm, checkForm)
	if err != nil {
		return err
	}
	in := models.CreateTranscriptionInput{Raw: body, ContentType: r.Header.Get("Content-Type")}
	if len(body) == 0 {
		if err := checkForm(r.Header); err != nil {
			return err
		}
		return invalidForm("The request has no body. Send a form with a file.")
	}
	if err := readForm(&in); err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateTranscription(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	h.sendAnswer(w, r, &done.Transcription.Answer, began)
	return nil
}

func checkForm(h http.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return unsupportedMedia("Bodies with a Content-Encoding are not accepted.")
	}
	t, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || t != "multipart/form-data" || params["boundary"] == "" {
		return unsupportedMedia("The Content-Type must be multipart/form-data with a boundary.")
	}
	return nil
}

func invalidForm(message string) error {
	return &models.Error{Kind: models.KindInvalid, Code: models.CodeInvalidValue, Message: message}
}

// readForm reads what the product needs to know of a transcription's form. Of
// the file that is only its head and its length.
func readForm(in *models.CreateTranscriptionInput) error {
	_, params, err := mime.ParseMediaType(in.ContentType)
	if err != nil {
		return invalidForm("The Content-Type has no boundary.")
	}
	form := multipart.NewReader(bytes.NewReader(in.Raw), params["boundary"])
	seen := map[string]bool{}
	for n := 0; ; n++ {
		part, err := form.NextRawPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return invalidForm("The body is not a form in multipart/form-data, or is cut short.")
		case n == maxFormParts:
			return invalidForm("The form must have at most " + strconv.Itoa(maxFormParts) + " parts.")
		}
		name := part.FormName()
		if seen[name] && !strings.HasSuffix(name, "[]") {
			return models.Invalid(clip(name, 80), "'%s' is in the form more than once.", clip(name, 80))
		}
		seen[name] = true
		if err := readPart(in, name, part); err != nil {
			return err
		}
	}
}

func readPart(in *models.CreateTranscriptionInput, name string, part *multipart.Part) error {
	if name == "file" {
		var head bytes.Buffer
		n, err := io.CopyN(&head, part, headSize)
		if err == nil {
			var rest int64
			rest, err = io.Copy(io.Discard, part)
			n += rest
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return invalidForm("The body is not a form in multipart/form-data, or is cut short.")
		}
		in.Filename, in.Head, in.Size = part.FileName(), head.Bytes(), n
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(part, maxFormField+1))
	switch {
	case err != nil:
		return invalidForm("The body is not a form in multipart/form-data, or is cut short.")
	case len(b) > maxFormField:
		return models.Invalid(clip(name, 80), "'%s' must have at most %d bytes.", clip(name, 80), maxFormField)
	}
	value := string(b)
	switch name {
	case "model":
		in.Model = value
	case "language":
		in.Language = &value
	case "prompt":
		in.Prompt = &value
	case "response_format":
		in.ResponseFormat = &value
	case "temperature":
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return models.Invalid(name, "'temperature' must be a number.")
		}
		in.Temperature = &f
	case "stream":
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return models.Invalid(name, "'stream' must be true or false.")
		}
		in.Stream = &yes
	}
	return nil
}
