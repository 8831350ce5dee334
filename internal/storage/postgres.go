package storage

import (
	"context"
	"errors"
	"fmt"
	neturl "net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// postgresPool are the limits of a pool, as the URL's own parameters or defaults
// say. The names are those of pgxpool.
type postgresPool struct {
	maxConns              int
	lifetime, idleTimeout time.Duration
}

func openPostgres(ctx context.Context, url string) (*DB, error) {
	cfg, pool, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	conns := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(useUTC))
	conns.SetMaxOpenConns(pool.maxConns)
	conns.SetMaxIdleConns(pool.maxConns)
	// Connections move to another server in time, after a failover or a resize.
	conns.SetConnMaxLifetime(pool.lifetime)
	conns.SetConnMaxIdleTime(pool.idleTimeout)
	b := bun.NewDB(conns, pgdialect.New())
	db := &DB{dialect: Postgres, read: b, write: b, announced: make(chan string, announcements)}
	if err := db.Ping(ctx); err != nil {
		at := fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
		return nil, errors.Join(fmt.Errorf("connect to PostgreSQL at %s: %w", at, err), db.Close())
	}
	return db, nil
}

func parsePostgres(url string) (*pgx.ConnConfig, *postgresPool, error) {
	u, err := neturl.Parse(url)
	if err != nil || strings.Contains(u.Path, "@") {
		// The reason would quote the URL, password and all.
		return nil, nil, errors.New("the PostgreSQL URL cannot be read; percent-encode special characters of the password: " + allowedURLs)
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, nil, secretSafe(url, err, "the PostgreSQL URL is not valid: "+allowedURLs)
	}
	pool, err := parsePool(cfg.RuntimeParams)
	if err != nil {
		return nil, nil, err
	}
	// bun writes arguments into the text, so that the cache of prepared statements
	// would hold each text once, and cost a round trip more.
	if u.Query().Get("default_query_exec_mode") == "" {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "coai"
	}
	return cfg, pool, nil
}

// parsePool takes the pool's parameters out of those that go to the server.
func parsePool(params map[string]string) (*postgresPool, error) {
	p := &postgresPool{maxConns: 20, lifetime: time.Hour, idleTimeout: 5 * time.Minute}
	if s, ok := params["pool_max_conns"]; ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10_000 {
			return nil, fmt.Errorf("pool_max_conns in the PostgreSQL URL must be a number from 1 to 10000; got %q", s)
		}
		p.maxConns = n
	}
	for name, to := range map[string]*time.Duration{
		"pool_max_conn_lifetime":  &p.lifetime,
		"pool_max_conn_idle_time": &p.idleTimeout,
	} {
		s, ok := params[name]
		if !ok {
			continue
		}
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("%s in the PostgreSQL URL must be a duration such as 30m; got %q", name, s)
		}
		*to = d
	}
	for name := range params {
		if strings.HasPrefix(name, "pool_") {
			delete(params, name)
		}
	}
	return p, nil
}

// useUTC makes a connection read times in UTC instead of the machine's zone.
func useUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// secretSafe adds the reason to a message about a URL, unless the URL holds
// something that the reason might quote.
func secretSafe(url string, reason error, message string) error {
	if strings.Contains(url, "@") || strings.Contains(strings.ToLower(url), "password") {
		return errors.New(message)
	}
	return fmt.Errorf("%s: %w", message, reason)
}
