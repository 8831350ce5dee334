package testdb

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// childScript runs a server until its standard input closes, which it does when
// the test binary ends, however it ends. Then it ends the server by its id, with
// the signal on which PostgreSQL and Redis stop without waiting for clients, and
// removes its folder.
const childScript = `dir=$1; shift
"$@" >"$dir/log" 2>&1 </dev/null &
pid=$!
read -r _
kill -INT "$pid"
wait "$pid"
rm -rf "$dir"`

// child is a server that lives as long as this process. Its folder also holds
// what it writes to its log.
type child struct {
	dir   string
	alive *os.File // only the end of this process closes it
}

func startChild(dir string, as *syscall.Credential, command ...string) (*child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	args := append([]string{"-c", childScript, "sh", dir}, command...)
	cmd := exec.Command("/bin/sh", args...) //nolint:gosec,noctx // our own command, which outlives the test that starts it
	cmd.Stdin = r
	cmd.Dir = dir
	// In a group of its own an interrupt of the terminal does not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &child{dir: dir, alive: w}, cmd.Process.Release()
}

func (c *child) stop() { _ = c.alive.Close() }

// ready asks until the server answers.
func (c *child) ready(ask func() error) error {
	deadline, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			log, _ := os.ReadFile(filepath.Join(c.dir, "log")) //nolint:gosec // a folder of our own
			c.stop()
			return fmt.Errorf("it does not answer: %w\n%s", err, log)
		}
	}
}

// freePort is a port that nobody listened on a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // at once
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
