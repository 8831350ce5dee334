// Command coai runs and manages the gateway.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/models"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // it was tried and failed
	exitUsage   = 2 // the command line or the settings are wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], process{
		environ: os.Environ(), in: os.Stdin, out: os.Stdout, errOut: os.Stderr,
		terminal: isatty.IsTerminal(os.Stderr.Fd()),
	})
	stop()
	os.Exit(code)
}

// process is what the operating system hands to the program.
type process struct {
	environ     []string
	in          io.Reader
	out, errOut io.Writer
	terminal    bool // errOut is one
}

// run does one command and gives the exit code.
func run(ctx context.Context, args []string, p process) int {
	c := &cli{process: p}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.errOut)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(p.errOut, "coai: "+err.Error())
	var config *app.ConfigError
	var domain *models.Error
	switch {
	case !c.ran:
		_, _ = fmt.Fprintf(p.errOut, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	case errors.As(err, &config), errors.As(err, &domain) && domain.Kind == models.KindInvalid, errors.Is(err, errUsage):
		return exitUsage
	}
	return exitFailure
}

// errTestFailed makes a failed test of a channel a failure for scripts.
var errTestFailed = errors.New("the channel failed the test")

// errUsage marks mistakes on the command line that a command finds itself.
var errUsage = errors.New("usage")

type usageError struct{ message string }

func (e usageError) Error() string        { return e.message }
func (e usageError) Is(target error) bool { return target == errUsage }

func wrongUsage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }
