package testdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis gives the URL of an empty logical database on a real server, which no
// other test uses meanwhile. It is emptied after the test.
func Redis(t testing.TB) (url string) {
	t.Helper()
	server, err := redisOnce()
	if err != nil {
		unavailable(t, "redis", err)
	}
	n, release, err := server.claim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(afterTest(t)); err != nil {
			t.Logf("clean up Redis: %v", err)
		}
	})
	return server.url(n)
}

// redisOnce is one server for all tests of a binary.
var redisOnce = sync.OnceValues(findRedis) //nolint:gochecknoglobals // starting one takes a while

type redisServer struct {
	options *redis.Options
	from    string // where it was found
	child   *child // nil: somebody else's, which other binaries use too
	next    atomic.Int64
}

const privateDatabases = 10_000

func findRedis() (*redisServer, error) {
	if u := os.Getenv("COAI_TEST_REDIS_URL"); u != "" {
		s, err := sharedRedis(u)
		if err != nil {
			return nil, fmt.Errorf("COAI_TEST_REDIS_URL: %w", err)
		}
		s.from = "COAI_TEST_REDIS_URL"
		return s, nil
	}
	started, err := startRedis()
	if err == nil {
		return started, nil
	}
	s, sharedErr := sharedRedis("redis://127.0.0.1:6379")
	if sharedErr != nil {
		return nil, fmt.Errorf("looked for COAI_TEST_REDIS_URL (not set), redis-server (%w) and 127.0.0.1:6379 (%w)", err, sharedErr)
	}
	s.from = "127.0.0.1:6379"
	return s, nil
}

func startRedis() (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "coaitest-redis-")
	if err != nil {
		return nil, err
	}
	c, err := startChild(dir, nil, program, "--bind", "127.0.0.1", "--port", port,
		"--save", "", "--appendonly", "no", "--databases", strconv.Itoa(privateDatabases), "--dir", dir)
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	err = c.ready(func() error {
		conn, err := net.Dial("tcp", addr) //nolint:noctx // at once
		if err != nil {
			return err // the client would log each of these
		}
		return conn.Close()
	})
	s := &redisServer{options: &redis.Options{Addr: addr, DialerRetries: 1, MaxRetries: -1}, from: program, child: c}
	if err == nil {
		err = s.with(context.Background(), 0, ping)
	}
	return s, err
}

func sharedRedis(u string) (*redisServer, error) {
	o, err := redis.ParseURL(u)
	if err != nil {
		return nil, err
	}
	o.DialerRetries, o.MaxRetries = 1, -1
	s := &redisServer{options: o}
	return s, s.with(context.Background(), 0, ping)
}

func ping(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() }

// with runs fn on a logical database. It leaves no connection behind.
func (s *redisServer) with(ctx context.Context, db int, fn func(context.Context, *redis.Client) error) error {
	o := *s.options
	o.DB = db
	c := redis.NewClient(&o)
	return errors.Join(fn(ctx, c), c.Close())
}

func (s *redisServer) url(db int) string {
	u := url.URL{Scheme: "redis", Host: s.options.Addr, Path: "/" + strconv.Itoa(db)}
	switch {
	case s.options.Network == "unix":
		u = url.URL{Scheme: "unix", Path: s.options.Addr, RawQuery: "db=" + strconv.Itoa(db)}
	case s.options.TLSConfig != nil:
		u.Scheme = "rediss"
	}
	if s.options.Password != "" {
		u.User = url.UserPassword(s.options.Username, s.options.Password)
	}
	return u.String()
}

func flush(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() }

// claim finds a logical database for a test. On a private server each test has
// a new one. On a shared server there are few, and other test binaries claim
// them too: claims are kept in database 0.
func (s *redisServer) claim(ctx context.Context) (db int, release func(context.Context) error, err error) {
	if s.child != nil {
		n := int(s.next.Add(1))
		return n, func(ctx context.Context) error { return s.with(ctx, n, flush) }, nil
	}
	deadline, tick := time.After(2*time.Minute), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		for n := 1; n < 16; n++ {
			mine, err := s.take(ctx, n)
			if err != nil {
				return 0, nil, err
			}
			if mine {
				return n, func(ctx context.Context) error { return s.giveBack(ctx, n) }, nil
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			return 0, nil, errors.New("the logical databases 1 to 15 of the shared Redis are all taken or not empty")
		}
	}
}

func claimKey(n int) string { return "coaitest:claim:" + strconv.Itoa(n) }

// take claims database n, unless somebody has, or keeps something there.
func (s *redisServer) take(ctx context.Context, n int) (mine bool, err error) {
	err = s.with(ctx, 0, func(ctx context.Context, c *redis.Client) (err error) {
		mine, err = c.SetNX(ctx, claimKey(n), os.Getpid(), 10*time.Minute).Result()
		return err
	})
	if err != nil || !mine {
		return false, err
	}
	var size int64
	err = s.with(ctx, n, func(ctx context.Context, c *redis.Client) (err error) {
		size, err = c.DBSize(ctx).Result()
		return err
	})
	if err != nil || size > 0 {
		return false, errors.Join(err, s.unclaim(ctx, n))
	}
	return true, nil
}

func (s *redisServer) giveBack(ctx context.Context, n int) error {
	return errors.Join(s.with(ctx, n, flush), s.unclaim(ctx, n))
}

func (s *redisServer) unclaim(ctx context.Context, n int) error {
	return s.with(ctx, 0, func(ctx context.Context, c *redis.Client) error { return c.Del(ctx, claimKey(n)).Err() })
}
