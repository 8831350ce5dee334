package jobs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// answering is a Redis client that gives one answer to every script.
type answering struct {
	redis.UniversalClient
	err error
}

func (a answering) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(a.err)
	return cmd
}

// Without the pause asynq keeps a core busy while Redis is away.
func TestOnlyFailuresTakeTime(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		took time.Duration
	}{
		{"a task", nil, 0},
		{"no task", redis.Nil, 0},
		{"script not loaded", redis.ErrNoScript, 0},
		{"server away", errors.New("connection refused"), checkInterval},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := patient{answering{err: tc.err}, checkInterval}.EvalSha(t.Context(), "", nil).Err()
				if !errors.Is(err, tc.err) {
					t.Errorf("the error is %v, want %v", err, tc.err)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("it took %v, want %v", took, tc.took)
				}
			})
		})
	}
}
