package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// patient is a Redis client that takes its time to fail. asynq asks for the
// next task again at once when the last question failed, and the client it is
// given fails within microseconds while Redis is away: together they would keep a
// core busy.
type patient struct {
	redis.UniversalClient
	pause time.Duration
}

// EvalSha is what asynq asks for tasks with.
func (p patient) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	cmd := p.UniversalClient.EvalSha(ctx, sha1, keys, args...)
	err := cmd.Err()
	if err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "NOSCRIPT") {
		return cmd // an answer: none, no task, or the request to send the script
	}
	wait := time.NewTimer(p.pause)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
	return cmd
}
