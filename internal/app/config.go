// Package app puts the product together: its settings, the wiring of all
// packages, start and stop. It is the only package that reads the environment.
package app

import (
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Config holds all settings. A setting is taken from its flag, else its
// environment variable, else the YAML file, else its default. [Load] fills it
// in; the table in the README is made from the tags.
//
// The tags: env, flag and yaml name the setting in its three sources (empty:
// not settable there); default and help are for people and programs; group is
// the heading in the help; secret is "value" when the value is never shown, and
// "url" when only a password in it is; check names a rule of check.go.
type Config struct {
	// Addr is where the server listens.
	Addr string `group:"Serving" env:"COAI_ADDR" flag:"addr" yaml:"addr" default:"127.0.0.1:8080" check:"addr" help:"Address to listen on, host:port. Port 0 takes a free one."`
	// MetricsAddr is where Prometheus metrics and the health checks are served apart from the API.
	MetricsAddr string `group:"Serving" env:"COAI_METRICS_ADDR" flag:"metrics-addr" yaml:"metrics_addr" check:"addr" help:"Separate address for /metrics, /healthz and /readyz. Empty: they are served beside the API."`
	// CORSOrigins are the web origins whose pages may call the API.
	CORSOrigins []string `group:"Serving" env:"COAI_CORS_ORIGINS" flag:"cors-origins" yaml:"cors_origins" default:"*" check:"origins" help:"Web origins whose pages may call the API (comma-separated), or * for any. Cookies are never accepted across origins."`
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix `group:"Serving" env:"COAI_TRUSTED_PROXIES" flag:"trusted-proxies" yaml:"trusted_proxies" help:"Networks (CIDR, comma-separated) of reverse proxies whose X-Forwarded-For is believed."`
	// GraphQLIDE says whether browsers that open /graphql get an IDE.
	GraphQLIDE bool `group:"Serving" env:"COAI_GRAPHQL_IDE" flag:"graphql-ide" yaml:"graphql_ide" default:"true" help:"Answer browsers that open /graphql with an IDE."`
	// GraphQLIntrospection says whether the schema is published.
	GraphQLIntrospection bool `group:"Serving" env:"COAI_GRAPHQL_INTROSPECTION" flag:"graphql-introspection" yaml:"graphql_introspection" default:"true" help:"Let those who are signed in ask for the schema, and serve /schema.graphql."`
	// TrustedDocuments names a file of the only GraphQL documents that are executed.
	TrustedDocuments string `group:"Serving" env:"COAI_GRAPHQL_TRUSTED_DOCUMENTS" flag:"graphql-trusted-documents" yaml:"graphql_trusted_documents" help:"A manifest of the only GraphQL documents that are executed: documents by SHA-256, or Apollo's format. Empty: all are, within limits."`
	// MaxBody is the largest request body.
	MaxBody Size `group:"Serving" env:"COAI_MAX_BODY" flag:"max-body" yaml:"max_body" default:"20MiB" check:"positive" help:"Largest request body."`
	// CompletionTimeout bounds a whole completion.
	CompletionTimeout time.Duration `group:"Serving" env:"COAI_COMPLETION_TIMEOUT" flag:"completion-timeout" yaml:"completion_timeout" default:"10m" check:"positive" help:"Longest time for a whole completion, failover included."`
	// CacheSize bounds the answers kept for keys with a response cache.
	CacheSize Size `group:"Serving" env:"COAI_CACHE_SIZE" flag:"cache-size" yaml:"cache_size" default:"64MiB" help:"Memory for answers that are kept for API keys with a response cache. 0 keeps none."`
	// AnalyticsMemory bounds the packed hours of usage kept in memory.
	AnalyticsMemory Size `group:"Serving" env:"COAI_ANALYTICS_MEMORY" flag:"analytics-memory" yaml:"analytics_memory" default:"64MiB" check:"positive" help:"Memory for usage of past hours; a million records take about 32 MiB. What does not fit is read from the database."`
	// DrainTimeout bounds a completion whose client has left, for keys that let it finish.
	DrainTimeout time.Duration `group:"Serving" env:"COAI_DRAIN_TIMEOUT" flag:"drain-timeout" yaml:"drain_timeout" default:"1m" check:"positive" help:"How long a completion goes on after its client has left, for keys with on_disconnect=drain."`
	// DrainTokens bounds the answer of such a completion.
	DrainTokens int `group:"Serving" env:"COAI_DRAIN_TOKENS" flag:"drain-tokens" yaml:"drain_tokens" default:"16384" check:"positive" help:"Tokens after which such a completion is cancelled."`
	// DrainConcurrency is how many such completions a process has at a time.
	DrainConcurrency int `group:"Serving" env:"COAI_DRAIN_CONCURRENCY" flag:"drain-concurrency" yaml:"drain_concurrency" default:"100" check:"positive" help:"How many such completions go on at a time; beyond them the upstream is cancelled."`
	// UpstreamRetries is how many more rounds through its channels a request gets.
	UpstreamRetries int `group:"Serving" env:"COAI_UPSTREAM_RETRIES" flag:"upstream-retries" yaml:"upstream_retries" default:"2" check:"not-negative" help:"How many more times a request goes through the channels of its model, after growing pauses, when all have failed in a way that may pass."`
	// RoutingStrategy is the order of a model's channels where the model says none.
	RoutingStrategy string `group:"Serving" env:"COAI_ROUTING_STRATEGY" flag:"routing-strategy" yaml:"routing_strategy" default:"priority" oneof:"priority,weighted,lowest_latency,lowest_cost,cache_sticky" help:"In which order the channels of a model are asked, unless the model says otherwise."`
	// ShutdownTimeout is how long running requests may go on after a stop was asked for.
	ShutdownTimeout time.Duration `group:"Serving" env:"COAI_SHUTDOWN_TIMEOUT" flag:"shutdown-timeout" yaml:"shutdown_timeout" default:"30s" check:"positive" help:"How long running requests and streams may go on after SIGTERM."`
	// Worker says whether a serving process runs periodic jobs too.
	Worker bool `group:"Serving" env:"COAI_WORKER" flag:"worker" yaml:"worker" default:"true" help:"Run periodic jobs in the serving process too. Turn it off where 'coai worker' runs."`

	// DataDir holds the SQLite database, the master key and the lock file.
	DataDir string `group:"Storage" env:"COAI_DATA_DIR" flag:"data-dir" yaml:"data_dir" default:"./data" help:"Directory of the embedded database and the generated master key."`
	// DatabaseURL says which database holds all records; empty is a SQLite file in DataDir.
	DatabaseURL string `group:"Storage" env:"COAI_DATABASE_URL" flag:"database-url" yaml:"database_url" secret:"url" check:"database" help:"sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME. Empty: coai.db in the data directory."`
	// RedisURL says which Redis carries tasks and rate limits; empty is one inside the process.
	RedisURL string `group:"Storage" env:"COAI_REDIS_URL" flag:"redis-url" yaml:"redis_url" secret:"url" check:"redis" help:"redis:// or rediss:// URL. Empty: embedded in the process, for a single one."`
	// AutoMigrate says whether a start brings the database schema up to date.
	AutoMigrate bool `group:"Storage" env:"COAI_AUTO_MIGRATE" flag:"auto-migrate" yaml:"auto_migrate" default:"true" help:"Bring the database schema up to date at start. If off, run 'coai migrate' before."`
	// UsageRetention is how long usage records are kept.
	UsageRetention time.Duration `group:"Storage" env:"COAI_USAGE_RETENTION" flag:"usage-retention" yaml:"usage_retention" default:"0" check:"not-negative" help:"How long usage records are kept, such as 8760h. 0 keeps them for ever."`
	// KeyRetention is how long dead API keys are kept.
	KeyRetention time.Duration `group:"Storage" env:"COAI_KEY_RETENTION" flag:"key-retention" yaml:"key_retention" default:"2160h" check:"positive" help:"How long API keys are kept after they expired or were revoked."`

	// BootstrapAdminKey is a fixed API key of the first admin, for automation.
	BootstrapAdminKey string `group:"Security" env:"COAI_BOOTSTRAP_ADMIN_KEY" yaml:"bootstrap_admin_key" secret:"value" check:"bootstrap-key" help:"A fixed API key for the first admin, for automation: 24 or more printable characters. Empty: one is generated and printed at the first start."`
	// MasterKey encrypts the credentials of channels.
	MasterKey string `group:"Security" env:"COAI_MASTER_KEY" yaml:"master_key" secret:"value" check:"master-key" help:"Encrypts the channels' credentials: 32 bytes in base64 or hex, equal in all processes. Empty: master.key in the data directory, generated when absent."`
	// AllowPrivateNetworks says which private addresses channels may reach.
	AllowPrivateNetworks string `group:"Security" env:"COAI_ALLOW_PRIVATE_NETWORKS" flag:"allow-private-networks" yaml:"allow_private_networks" check:"networks" help:"Private and loopback networks that channels may reach: CIDRs (comma-separated), or off for none. Empty: all; metadata services are refused always."`
	// StripeSecretKey lets people pay through Stripe.
	StripeSecretKey string `group:"Payments" env:"COAI_STRIPE_SECRET_KEY" yaml:"stripe_secret_key" secret:"value" help:"Stripe's secret key. Empty: admins write payments down by hand."`
	// StripeWebhookSecret proves Stripe's events.
	StripeWebhookSecret string `group:"Payments" env:"COAI_STRIPE_WEBHOOK_SECRET" yaml:"stripe_webhook_secret" secret:"value" help:"Signing secret (whsec_…) of the webhook at Stripe that points to /v1/payments/stripe/webhook."`
	// StripePrices are what the tiers cost.
	StripePrices []string `group:"Payments" env:"COAI_STRIPE_PRICES" flag:"stripe-prices" yaml:"stripe_prices" check:"prices" help:"Stripe's price of each tier that can be subscribed to, such as pro=price_1,enterprise=price_2."`
	// StripeReturnURL is where customers go after Stripe's pages.
	StripeReturnURL string `group:"Payments" env:"COAI_STRIPE_RETURN_URL" flag:"stripe-return-url" yaml:"stripe_return_url" check:"http-url" help:"Where customers go after Stripe's pages, unless the request says."`
	// StripeURL is Stripe's API.
	StripeURL string `group:"Payments" env:"COAI_STRIPE_URL" flag:"stripe-url" yaml:"stripe_url" check:"http-url" help:"Another address of Stripe's API, such as that of its mock server."`
	// PaymentGrace is how long a tier that is not paid for stays.
	PaymentGrace time.Duration `group:"Payments" env:"COAI_PAYMENT_GRACE" flag:"payment-grace" yaml:"payment_grace" default:"168h" check:"positive" help:"How long an account keeps a tier whose payment failed."`

	// OpenAIAPIKey makes a channel at the first start.
	OpenAIAPIKey string `group:"Security" env:"OPENAI_API_KEY" secret:"value" help:"At the first start, makes a ready channel to OpenAI."`
	// AnthropicAPIKey makes a channel at the first start.
	AnthropicAPIKey string `group:"Security" env:"ANTHROPIC_API_KEY" secret:"value" help:"At the first start, makes a ready channel to Anthropic."`
	// GeminiAPIKey makes a channel at the first start.
	GeminiAPIKey string `group:"Security" env:"GEMINI_API_KEY" secret:"value" help:"At the first start, makes a ready channel to Google's Gemini."`
	// OllamaHost is where Ollama says that it listens.
	OllamaHost string `group:"Security" env:"OLLAMA_HOST" help:"Where to look for an Ollama on this machine at the first start, as Ollama itself reads it. Empty: its default port."`
	// DetectOllama says whether the first start looks for an Ollama.
	DetectOllama bool `group:"Security" env:"COAI_DETECT_OLLAMA" flag:"detect-ollama" yaml:"detect_ollama" default:"true" help:"At the first start, make a ready channel to an Ollama on this machine that answers."`

	// LogLevel is the least severe level that is logged.
	LogLevel string `group:"Telemetry" env:"COAI_LOG_LEVEL" flag:"log-level" yaml:"log_level" default:"info" oneof:"trace,debug,info,warn,error" help:"Least severe level to log."`
	// LogFormat is how log lines look.
	LogFormat string `group:"Telemetry" env:"COAI_LOG_FORMAT" flag:"log-format" yaml:"log_format" default:"auto" oneof:"auto,json,console" help:"Form of log lines; auto is console on a terminal and json elsewhere."`
	// OTLPEndpoint is where traces go.
	OTLPEndpoint string `group:"Telemetry" env:"COAI_OTLP_ENDPOINT" flag:"otlp-endpoint" yaml:"otlp_endpoint" secret:"url" check:"http-url" help:"OpenTelemetry collector for traces (OTLP over HTTP), such as http://localhost:4318/v1/traces. Empty: no traces."`

	// GOGC paces the garbage collector.
	GOGC int `group:"Runtime" env:"COAI_GOGC" flag:"gogc" yaml:"gogc" default:"400" check:"positive" help:"Heap growth in percent between garbage collections. The GOGC variable goes first."`
	// MemoryLimit is the soft limit of the Go runtime.
	MemoryLimit Size `group:"Runtime" env:"COAI_MEMORY_LIMIT" flag:"memory-limit" yaml:"memory_limit" default:"" check:"not-negative" help:"Soft memory limit, such as 2GiB. Empty: 80 % of the container's or host's memory. The GOMEMLIMIT variable goes first."`

	origins  map[string]string // env name -> where the value comes from
	warnings []string
	hasGOGC  bool
	hasLimit bool
}

// Warnings are what [Load] found odd but not wrong, such as unknown COAI_*
// variables.
func (c *Config) Warnings() []string { return c.warnings }

// Database is the database's URL, the default resolved.
func (c *Config) Database() string {
	if c.DatabaseURL != "" {
		return c.DatabaseURL
	}
	return "sqlite:" + filepath.Join(c.DataDir, "coai.db")
}

// embeddedDatabase says whether the database is a file that one serving
// process has for itself.
func (c *Config) embeddedDatabase() bool { return strings.HasPrefix(c.Database(), "sqlite:") }

// masterKeyFile is where a generated master key is kept.
func (c *Config) masterKeyFile() string { return filepath.Join(c.DataDir, "master.key") }
