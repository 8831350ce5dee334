package storage

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// embeddedTick is how late a key may expire. Each tick walks all keys.
	embeddedTick = time.Second
	// Only a starved process is slow here, and failing would not help it.
	embeddedTimeout = 5 * time.Second
)

// openEmbeddedRedis starts a Redis that is reached through pipes, not a port.
func openEmbeddedRedis() *Redis {
	server := miniredis.NewMiniRedis()
	client := redis.NewClient(&redis.Options{
		Addr:                     "embedded",
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return server.Dial() },
		MaxRetries:               -1,
		DialerRetries:            1,
		DialTimeout:              embeddedTimeout,
		ReadTimeout:              embeddedTimeout,
		WriteTimeout:             embeddedTimeout,
		PoolTimeout:              embeddedTimeout,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	// Keys expire only when the server is told how much time has passed: its own
	// clock would walk all keys at each command.
	stop := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(embeddedTick)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				now := time.Now()
				server.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	closed := sync.OnceValue(func() error {
		close(stop)
		ticking.Wait()
		err := client.Close()
		server.Close()
		if errors.Is(err, redis.ErrClosed) {
			return nil // whoever shares the client closed it first
		}
		return err
	})
	return &Redis{Client: client, Embedded: true, close: closed}
}
