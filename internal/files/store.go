package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

const (
	// An upload to S3 holds this much: a part that fills, and those on their way.
	partSize     = 8 << 20
	partsOnWay   = 2
	copyBuffer   = 128 << 10
	prefix       = "files/" // of all keys, so that a bucket can hold other things
	allowedStore = `allowed are "file:<path>" such as file:///var/lib/coai/files, and "s3://bucket?endpoint=https://host&region=name"`
)

// Store is where blobs are. A blob is there whole or not at all.
type Store struct {
	bucket *blob.Bucket
	root   string // of local files; empty: S3
}

// OpenStore opens the blob store at a URL.
//
// "file:<path>" is a directory, made when it does not exist. A blob is on the disk
// when an upload ends.
//
// "s3://bucket" is a bucket of S3 or of what speaks its language. Parameters:
// endpoint (a URL; default Amazon's), region (default us-east-1 with an endpoint,
// else the environment's), prefix (of all keys), path_style (true with an endpoint,
// unless it is false). Credentials are the URL's user and password, else those that
// Amazon's own programs take: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, profiles,
// roles.
//
// Errors never hold a password.
func OpenStore(ctx context.Context, rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the storage URL cannot be read: " + allowedStore)
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && u.Opaque+u.Path != "":
		return openLocal(u.Opaque + u.Path)
	case u.Scheme == "s3" && u.Host != "":
		return openS3(ctx, u)
	}
	return nil, errors.New("the storage URL is of an unknown form: " + allowedStore)
}

func openLocal(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the storage directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the storage directory: %w", err)
	}
	// Temporary files are beside the whole ones, because a rename works inside one
	// file system only.
	bucket, err := fileblob.OpenBucket(dir, &fileblob.Options{DirFileMode: 0o700, Metadata: fileblob.MetadataDontWrite, NoTempDir: true})
	if err != nil {
		return nil, fmt.Errorf("open the storage directory: %w", err)
	}
	return &Store{bucket: bucket, root: dir}, nil
}

func openS3(ctx context.Context, u *url.URL) (*Store, error) {
	q := u.Query()
	for name := range q {
		switch name {
		case "endpoint", "region", "prefix", "path_style":
		default:
			return nil, errors.New("the storage URL has an unknown parameter: " + allowedStore)
		}
	}
	endpoint, region := q.Get("endpoint"), q.Get("region")
	if e, err := url.Parse(endpoint); endpoint != "" && (err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https") {
		return nil, errors.New("the endpoint of the storage URL must be an http or https URL")
	}
	if region == "" && endpoint != "" {
		region = "us-east-1"
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(region)}
	if key := u.User.Username(); key != "" {
		secret, _ := u.User.Password()
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(key, secret, "")))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("read the settings of S3: %w", err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(endpoint), q.Get("path_style") != "false"
		}
		// Others than Amazon do not all know the newer checksums; ours is kept in the row.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	bucket, err := s3blob.OpenBucket(ctx, client, u.Host, nil)
	if err != nil {
		return nil, fmt.Errorf("open the bucket: %w", err)
	}
	if p := q.Get("prefix"); p != "" {
		bucket = blob.PrefixedBucket(bucket, p)
	}
	return &Store{bucket: bucket}, nil
}

func (s *Store) close() error { return s.bucket.Close() } //nolint:wrapcheck // named by the caller

func (s *Store) ping(ctx context.Context) error {
	ok, err := s.bucket.IsAccessible(ctx)
	if err != nil {
		return fmt.Errorf("reach the blob store: %w", err)
	}
	if !ok {
		return errors.New("the blob store does not exist")
	}
	return nil
}

// put writes a blob. When it fails, or ctx ends, nothing is left.
func (s *Store) put(ctx context.Context, key string, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: "application/octet-stream", DisableContentTypeDetection: true, BufferSize: partSize, MaxConcurrency: partsOnWay,
	})
	if err != nil {
		return fmt.Errorf("begin blob: %w", err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, copyBuffer)); err != nil {
		cancel() // the end of a writer whose context has ended gives the blob up
		_ = w.Close()
		return fmt.Errorf("write blob: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("finish blob: %w", err)
	}
	return s.sync(key)
}

// sync has the disk keep a local blob, and its name.
func (s *Store) sync(key string) error {
	if s.root == "" {
		return nil
	}
	name := filepath.Join(s.root, filepath.FromSlash(key))
	for _, name := range []string{name, filepath.Dir(name), filepath.Dir(filepath.Dir(name)), s.root} {
		f, err := os.Open(name) //nolint:gosec // of our own making
		if err != nil {
			return fmt.Errorf("sync blob: %w", err)
		}
		err = f.Sync()
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("sync blob: %w", err)
		}
	}
	return nil
}

// open reads length bytes of a blob from offset on.
func (s *Store) open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.bucket.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return r, nil
}

// remove deletes a blob. One that is not there is no error.
func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete blob: %w", err)
	}
	return nil
}

// walk calls fn for the keys of the blobs that were written before a time, in
// groups of at most most.
func (s *Store) walk(ctx context.Context, before time.Time, most int, fn func(keys []string) error) error {
	list := s.bucket.List(&blob.ListOptions{Prefix: prefix})
	var keys []string
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		if o.ModTime.Before(before) {
			keys = append(keys, o.Key)
		}
		if len(keys) == most {
			if err := fn(keys); err != nil {
				return err
			}
			keys = nil
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return fn(keys)
}
