package chat

import (
	"github.com/coaidev/coai/internal/tokens"
)

// enter takes the job's place among the requests that its key and account may have
// at a time, and reserves tokens, before the first channel is asked. Keys and
// accounts without such limits pass by.
func (j *job) enter() error {
	if j.place != nil || j.s.limiter == nil || !j.viewer.Limits.Admission() {
		return nil
	}
	var prompt, answer int64
	if j.viewer.Limits.TPM > 0 {
		prompt, answer = j.wants()
	}
	place, err := j.s.limiter.Enter(j.ctx, j.viewer, prompt, answer)
	if err != nil {
		return err //nolint:wrapcheck // the client's
	}
	j.place = place
	return nil
}

// wants is how many tokens the prompt has, and how many the client lets the answer
// have; 0 where it sets no bound: they count when the answer has ended.
func (j *job) wants() (prompt, answer int64) {
	switch {
	case j.call == nil:
		prompt = tokens.CountPrompt(j.in)
	case j.call.Count != nil:
		prompt = j.call.Count()
	}
	most := j.in.MaxCompletionTokens
	if most == nil {
		most = j.in.MaxTokens
	}
	if most == nil {
		return prompt, 0
	}
	choices := 1
	if j.in.N != nil {
		choices = *j.in.N
	}
	return prompt, int64(*most) * int64(choices)
}
