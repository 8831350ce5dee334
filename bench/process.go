package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program under measurement.
type process struct {
	name string
	url  string
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a program that writes a line with its URL in it, and waits for that.
func start(ctx context.Context, name string, cmd *exec.Cmd) (*process, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	urls := make(chan string, 1)
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			for word := range strings.FieldsSeq(lines.Text()) {
				if strings.HasPrefix(word, "http://") && p.url == "" {
					p.url = strings.TrimRight(word, "/.")
					urls <- p.url
				}
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}()
	select {
	case <-urls:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("the %s ended at once", name)
	case <-time.After(time.Minute):
		p.stop()
		return nil, fmt.Errorf("the %s did not start within a minute", name)
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	}
}

// role starts this program in a role.
func role(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return start(ctx, args[0], exec.Command(self, args...)) //nolint:gosec,noctx // this program; it is stopped by stop
}

// stop asks the process to end, and makes it when it does not.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// cpu is the processor time that the process has used.
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of the %s: %w", p.name, err)
	}
	return parseStat(string(text))
}

func parseStat(text string) (time.Duration, error) {
	const tick = time.Second / 100 // USER_HZ is 100 on every architecture of Linux that Go runs on
	_, rest, found := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 13 {
		return 0, errors.New("unknown form of /proc/PID/stat")
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(errUser, errSystem)
}

// rss is the memory of the process in KiB.
func (p *process) rss() (int64, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, fmt.Errorf("read the memory of the %s: %w", p.name, err)
	}
	return parseStatus(string(text))
}

func parseStatus(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, errors.New("unknown form of /proc/PID/status")
}

// files is how many descriptors the process has open.
func (p *process) files() int {
	names, _ := filepath.Glob(p.proc("fd/*"))
	return len(names)
}

func (p *process) proc(file string) string {
	return "/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/" + file
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settled waits for a condition for at most a while, and says whether it holds.
func settled(ctx context.Context, most time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(most); !holds(); {
		if time.Now().After(deadline) || pause(ctx, 50*time.Millisecond) != nil {
			return false
		}
	}
	return true
}
