package jobs

import (
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// asynqLog gives asynq's lines to zerolog. Its news are of interest to
// developers alone, so they become debug lines; its errors repeat every few
// seconds while Redis is away, so they are thinned out.
type asynqLog struct{ log zerolog.Logger }

func newAsynqLog(log zerolog.Logger) asynqLog {
	return asynqLog{log: log.With().Str("component", "asynq").Logger().
		Sample(&zerolog.LevelSampler{
			WarnSampler:  &zerolog.BurstSampler{Burst: 5, Period: time.Minute},
			ErrorSampler: &zerolog.BurstSampler{Burst: 5, Period: time.Minute},
		})}
}

// harmless says whether asynq complains about how it is used here on purpose.
func harmless(msg string) bool { return strings.Contains(msg, "redis connection is shared") }

func (l asynqLog) write(at zerolog.Level, args []any) {
	if msg := fmt.Sprint(args...); !harmless(msg) {
		l.log.WithLevel(at).Msg(msg)
	}
}

func (l asynqLog) Debug(args ...any) { l.write(zerolog.DebugLevel, args) }
func (l asynqLog) Info(args ...any)  { l.write(zerolog.DebugLevel, args) }
func (l asynqLog) Warn(args ...any)  { l.write(zerolog.WarnLevel, args) }
func (l asynqLog) Error(args ...any) { l.write(zerolog.ErrorLevel, args) }

// Fatal logs an error: whether the process ends is not for a library to decide.
func (l asynqLog) Fatal(args ...any) { l.write(zerolog.ErrorLevel, args) }
