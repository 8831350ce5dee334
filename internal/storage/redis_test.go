package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

func openRedis(t *testing.T, url string) *storage.Redis {
	t.Helper()
	r, err := storage.OpenRedis(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// eachRedis runs fn on the embedded server and on a real one.
func eachRedis(t *testing.T, fn func(t *testing.T, r *storage.Redis)) {
	t.Run("embedded", func(t *testing.T) {
		r := openRedis(t, "")
		if !r.Embedded {
			t.Error("not said to be embedded")
		}
		fn(t, r)
	})
	t.Run("server", func(t *testing.T) {
		r := openRedis(t, testdb.Redis(t))
		if r.Embedded {
			t.Error("said to be embedded")
		}
		fn(t, r)
	})
}

func TestRedis(t *testing.T) {
	eachRedis(t, func(t *testing.T, r *storage.Redis) {
		ctx := t.Context()
		script := redis.NewScript(`return redis.call('INCRBY', KEYS[1], ARGV[1])`)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				if err := script.Run(ctx, r.Client, []string{"n"}, 2).Err(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n, err := r.Client.Get(ctx, "n").Int(); err != nil || n != 64 {
			t.Errorf("n = %d, %v; want 64", n, err)
		}
		sub := r.Client.Subscribe(ctx, "topic")
		defer func() { _ = sub.Close() }()
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if err := r.Client.Publish(ctx, "topic", "news").Err(); err != nil {
			t.Fatal(err)
		}
		if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "news" {
			t.Errorf("message = %v, %v", m, err)
		}
	})
}

func TestEmbeddedRedisExpiresKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		r, err := storage.OpenRedis(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := r.Client.Set(ctx, "k", "v", 5*time.Second).Err(); err != nil {
			t.Fatal(err)
		}
		<-time.After(4500 * time.Millisecond) // of the bubble's clock
		if left, err := r.Client.PTTL(ctx, "k").Result(); err != nil || left != time.Second {
			t.Errorf("after 4 ticks %s are left, %v; want 1s", left, err)
		}
		<-time.After(time.Second)
		if err := r.Client.Get(ctx, "k").Err(); !errors.Is(err, redis.Nil) {
			t.Errorf("after 5.5 s the key is still there: %v", err)
		}
	})
}

func TestEmbeddedRedisIsOnesOwn(t *testing.T) {
	a, b := openRedis(t, ""), openRedis(t, "")
	if err := a.Client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.Client.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("another embedded server answers %v", err)
	}
}

func TestRedisEndsWhenClosed(t *testing.T) {
	for _, url := range []string{"", "redis://127.0.0.1:1"} {
		t.Run("url "+url, func(t *testing.T) {
			quiet(t)
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			r, err := storage.OpenRedis(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Client.Ping(t.Context()).Err()
			sub := r.Client.Subscribe(t.Context(), "topic")
			_ = sub.Close()
			for range 2 { // whoever closes again does no harm
				if err := r.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
					t.Error(err)
				}
			}
			if err := r.Client.Ping(t.Context()).Err(); err == nil {
				t.Error("a closed Redis answers")
			}
		})
	}
}

// silent is a server that takes connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// quiet keeps the client library's log out of the test's output.
func quiet(t *testing.T) {
	t.Helper()
	redis.SetLogger(discard{})
	t.Cleanup(func() { redis.SetLogger(stderr{log.New(os.Stderr, "redis: ", log.LstdFlags)}) })
}

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

type stderr struct{ *log.Logger }

func (l stderr) Printf(_ context.Context, format string, v ...any) {
	_ = l.Output(2, fmt.Sprintf(format, v...))
}

func TestRedisThatIsDownFailsQuickly(t *testing.T) {
	quiet(t)
	for name, url := range map[string]string{
		"refused":          "redis://127.0.0.1:1",
		"silent":           "redis://" + silent(t),
		"sentinel refused": "redis-sentinel://127.0.0.1:1,127.0.0.1:2/0?master_name=m",
		"cluster refused":  "redis-cluster://127.0.0.1:1,127.0.0.1:2",
		"socket missing":   "unix:///nowhere/redis.sock",
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			r := openRedis(t, url)
			if took := time.Since(begin); took > 100*time.Millisecond {
				t.Errorf("OpenRedis took %s", took)
			}
			begin = time.Now()
			if err := r.Client.Ping(t.Context()).Err(); err == nil {
				t.Error("it answered")
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("a command took %s", took)
			}
			// A caller that is in more of a hurry.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			begin = time.Now()
			if err := r.Client.Get(ctx, "k").Err(); err == nil || errors.Is(err, redis.Nil) {
				t.Errorf("Get = %v", err)
			}
			if took := time.Since(begin); took > 400*time.Millisecond {
				t.Errorf("a command with 20 ms took %s", took)
			}
		})
	}
}

func TestOpenRedisForms(t *testing.T) {
	for url, check := range map[string]func(redis.UniversalClient) bool{
		"redis://u:p@h:1/2?read_timeout=7s&max_retries=2&dial_timeout=9s": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Addr == "h:1" && o.DB == 2 && o.Username == "u" && o.Password == "p" && o.TLSConfig == nil &&
				o.ReadTimeout == 7*time.Second && o.MaxRetries == 2 && o.DialTimeout == 9*time.Second
		},
		"rediss://h": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Addr == "h:6379" && o.TLSConfig != nil && o.TLSConfig.ServerName == "h" &&
				o.MaxRetries == 0 && o.ReadTimeout <= 500*time.Millisecond && o.DialTimeout <= 500*time.Millisecond
		},
		"unix:///tmp/r.sock?db=3": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.Network == "unix" && o.Addr == "/tmp/r.sock" && o.DB == 3
		},
		"redis-cluster://u:p@a:1,b:2": func(c redis.UniversalClient) bool {
			o := c.(*redis.ClusterClient).Options()
			return strings.Join(o.Addrs, " ") == "a:1 b:2" && o.Username == "u" && o.TLSConfig == nil
		},
		"rediss-cluster://a:1": func(c redis.UniversalClient) bool {
			return c.(*redis.ClusterClient).Options().TLSConfig != nil
		},
		"redis-sentinel://a:1,b:2/4?master_name=m&password=p": func(c redis.UniversalClient) bool {
			o := c.(*redis.Client).Options()
			return o.DB == 4 && o.Password == "p"
		},
	} {
		if r := openRedis(t, url); !check(r.Client) || r.Embedded {
			t.Errorf("%s was read wrongly", url)
		}
	}
}

func TestOpenRedisRefuses(t *testing.T) {
	for name, url := range map[string]string{
		"no scheme":         "localhost:6379",
		"other scheme":      "http://me:s3cret@localhost",
		"other kind":        "redis-ring://me:s3cret@localhost",
		"kind of a socket":  "unix-cluster:///x",
		"slash in password": "redis://me:12/s3cret@localhost",
		"bad escape":        "redis://me:s3cret%zz@localhost",
		"bad database":      "redis://me:s3cret@localhost/s3cret",
		"unknown parameter": "redis://me:s3cret@localhost?s3cret=1",
		"no master":         "redis-sentinel://me:s3cret@localhost:26379/0",
		"master elsewhere":  "redis-sentinel://localhost:26379/0?password=s3cret&db=s3cret&master_name=m",
	} {
		t.Run(name, func(t *testing.T) {
			r, err := storage.OpenRedis(t.Context(), url)
			if err == nil {
				_ = r.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), "allowed are") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error = %v; want one that names the forms and hides the password", err)
			}
		})
	}
	// Without a password in it, the reason is told.
	if _, err := storage.OpenRedis(t.Context(), "redis://localhost?color=red"); err == nil || !strings.Contains(err.Error(), "color") {
		t.Errorf("error = %v; want one that names the parameter", err)
	}
}
