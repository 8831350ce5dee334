package jobs

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/files"
)

// fileJobs delete the files that nobody is to find any more: every minute what
// the database knows of, and every hour the blobs that it does not know.
func fileJobs(f *files.Service) []job {
	if f == nil {
		return nil
	}
	return []job{
		{name: "clean-files", about: "Deletes files that have expired, and those of accounts that are gone.", every: time.Minute, timeout: 10 * time.Minute, run: told("deleted_files", f.Clean)},
		{name: "sweep-files", about: "Deletes stored data that no file refers to.", every: time.Hour, timeout: 30 * time.Minute, run: told("deleted_blobs", f.Sweep)},
	}
}

// told logs how much was done.
func told(what string, run func(context.Context, time.Time) (int, error)) func(context.Context, time.Time) error {
	return func(ctx context.Context, now time.Time) error {
		n, err := run(ctx, now)
		if n > 0 {
			zerolog.Ctx(ctx).Info().Int(what, n).Msg("housekeeping of files")
		}
		return err
	}
}
