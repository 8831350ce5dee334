package storage

import (
	"context"
	"errors"
	"fmt"
	neturl "net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Time-outs of a Redis server: nothing that a request waits for may hang on it.
const (
	redisDialTimeout = 300 * time.Millisecond
	redisTimeout     = 500 * time.Millisecond
)

// Redis is what processes share and may lose at any moment: counters and the
// queue of jobs. The record of everything is [DB].
type Redis struct {
	Client   redis.UniversalClient
	Embedded bool // in this process, for this process alone
	close    func() error
}

const allowedRedis = `allowed are "" (inside this process), ` +
	`"redis://user:password@host:6379/0" ("rediss://" with TLS, "unix://" for a socket), ` +
	`"redis-sentinel://host:26379,host2:26379/0?master_name=mymaster" and "redis-cluster://host:6379,host2:6379" ` +
	`("rediss-sentinel://", "rediss-cluster://" with TLS)`

// OpenRedis makes a client of the Redis at url; "" stands for one inside this
// process. It does not connect, so a server that is down is no error here: each
// command fails within half a second, and is not tried again.
//
// The forms of a URL:
//   - redis://user:password@host:6379/0; rediss:// with TLS; unix://…/redis.sock?db=0
//   - redis-sentinel://user:password@host:26379,host2:26379/0?master_name=mymaster, where
//     user and password are for the sentinels, and the parameters username and password
//     for the servers; rediss-sentinel:// with TLS
//   - redis-cluster://user:password@host:6379,host2:6379; rediss-cluster:// with TLS
//
// All take the parameters of https://pkg.go.dev/github.com/redis/go-redis/v9#ParseURL,
// such as read_timeout and pool_size. Errors never hold a password.
func OpenRedis(_ context.Context, url string) (*Redis, error) {
	if url == "" {
		return openEmbeddedRedis(), nil
	}
	u, err := neturl.Parse(url)
	if err != nil || u.Scheme != "unix" && strings.Contains(u.Path, "@") {
		// The reason would quote the URL, password and all.
		return nil, errors.New("the Redis URL cannot be read; percent-encode special characters of the password: " + allowedRedis)
	}
	client, err := redisClient(u)
	if err != nil {
		return nil, secretSafe(url, err, "the Redis URL is not valid: "+allowedRedis)
	}
	return &Redis{Client: client, close: client.Close}, nil
}

// Close ends the connections, and the Redis itself when it is embedded.
func (r *Redis) Close() error {
	if err := r.close(); err != nil {
		return fmt.Errorf("close Redis: %w", err)
	}
	return nil
}

func redisClient(u *neturl.URL) (redis.UniversalClient, error) {
	base, kind, _ := strings.Cut(u.Scheme, "-")
	if base != "redis" && base != "rediss" && u.Scheme != "unix" {
		return nil, fmt.Errorf("unknown scheme %q", u.Scheme)
	}
	switch kind {
	case "":
		o, err := redis.ParseURL(u.String())
		if err != nil {
			return nil, err
		}
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.ContextTimeoutEnabled = true
		beQuick(&o.MaxRetries, &o.DialerRetries, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		return redis.NewClient(o), nil
	case "sentinel":
		o, err := redis.ParseFailoverURL(eachHost(u, base))
		if err != nil {
			return nil, err
		}
		if o.MasterName == "" {
			return nil, errors.New("the parameter master_name is missing")
		}
		o.ContextTimeoutEnabled = true
		beQuick(&o.MaxRetries, &o.DialerRetries, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		return redis.NewFailoverClient(o), nil
	case "cluster":
		o, err := redis.ParseClusterURL(eachHost(u, base))
		if err != nil {
			return nil, err
		}
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.ContextTimeoutEnabled = true
		beQuick(&o.MaxRetries, &o.DialerRetries, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		return redis.NewClusterClient(o), nil
	}
	return nil, fmt.Errorf("unknown scheme %q", u.Scheme)
}

// eachHost turns the comma-separated hosts into the addr parameters that
// go-redis reads, and the scheme into base.
func eachHost(u *neturl.URL, base string) string {
	v := *u
	v.Scheme = base
	hosts := strings.Split(u.Host, ",")
	v.Host = hosts[0]
	q := v.Query()
	for _, h := range hosts[1:] {
		q.Add("addr", h)
	}
	v.RawQuery = q.Encode()
	return v.String()
}

// beQuick sets what the URL left open. The library's own choices would hold a
// command for seconds when the server is down.
func beQuick(retries, dials *int, dial, read, write, pool *time.Duration) {
	setDefault(retries, -1)
	setDefault(dials, 1)
	setDefault(dial, redisDialTimeout)
	setDefault(read, redisTimeout)
	setDefault(write, redisTimeout)
	setDefault(pool, redisTimeout)
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
