package chat

import (
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// operation is what the attempt's record says was asked.
func (j *job) operation() models.Operation {
	if j.call == nil {
		return models.OperationChat
	}
	return j.call.Operation
}

// rough is the prompt as it is charged if this process dies.
func (j *job) rough() int64 {
	switch {
	case j.call == nil:
		return roughPrompt(j.in)
	case j.call.Count == nil || !isJSON(j.call.ContentType):
		return 0
	}
	return int64(len(j.call.Body)-j.call.Attached+3) / 4
}

// relayed is what an attempt at another endpoint has consumed, by the rules of [job.used].
func (j *job) relayed(failure error) *models.Usage {
	u := j.read.usage
	if u == nil {
		u = &models.Usage{}
	}
	charged := failure == nil || j.read.accepted || j.ctx.Err() != nil && !j.stream
	if !charged {
		return u
	}
	if j.read.usage == nil && j.call.Count != nil {
		u.Estimated = true
		u.PromptTokens = j.call.Count()
		u.CompletionTokens = tokens.Count(j.read.produced.String())
		u.TotalTokens = u.PromptTokens + u.CompletionTokens
	}
	if failure != nil && u.PromptTokens > 0 {
		// What was told is from the beginning of the stream, the rest is counted.
		if made := tokens.Count(j.read.produced.String()); made > u.CompletionTokens {
			u.Estimated, u.CompletionTokens = true, made
			u.TotalTokens = u.PromptTokens + made
		}
	}
	u.Images, u.Characters, u.AudioMS = j.read.images, j.call.Characters, j.call.AudioMS
	if j.read.audioMS > 0 {
		u.AudioMS = j.read.audioMS
	}
	return u
}

// most is what an attempt may use at most, as far as the request and the model's
// description say.
func (j *job) most(prompt int64) models.Usage {
	u := models.Usage{PromptTokens: prompt, CompletionTokens: maxOutput(j.in, j.route.Model)}
	if j.call == nil {
		return u
	}
	u.Characters, u.AudioMS = j.call.Characters, j.call.AudioMS
	switch j.call.Endpoint {
	case providers.Embeddings:
		u.CompletionTokens = 0
	case providers.Moderations: // free
		return models.Usage{}
	case providers.Images:
		u.Images = 1
		if j.in.N != nil {
			u.Images = int64(*j.in.N)
		}
	case providers.Completions, providers.Responses, providers.Speech, providers.Transcriptions, providers.Messages:
	}
	return u
}
