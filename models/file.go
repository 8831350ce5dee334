package models

import (
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// FilePurpose is what a file is for. The product treats all alike: they are for
// its clients, and narrow lists.
type FilePurpose string

// The purposes.
const (
	FileAssistants FilePurpose = "assistants"
	FileBatch      FilePurpose = "batch"
	FileFineTune   FilePurpose = "fine-tune"
	FileVision     FilePurpose = "vision"
	FileUserData   FilePurpose = "user_data"
	FileEvals      FilePurpose = "evals"
)

// FilePurposes are all purposes.
func FilePurposes() []FilePurpose {
	return []FilePurpose{FileAssistants, FileBatch, FileFineTune, FileVision, FileUserData, FileEvals}
}

// FileStatus says how far an upload has come. Clients see processed files only.
type FileStatus string

// The statuses.
const (
	FileUploading FileStatus = "uploading"
	FileProcessed FileStatus = "processed"
)

// MaxFilesPage is how many files a page may have: OpenAI's limit.
const MaxFilesPage = 10_000

// Bounds of how long a file that expires is kept: OpenAI's.
const (
	MinFileLife = time.Hour
	MaxFileLife = 30 * 24 * time.Hour
)

// maxFilename is how many bytes a file's name may have, which is what file
// systems take.
const maxFilename = 255

// File is an uploaded file. Its content is in the blob store under Key.
// https://platform.openai.com/docs/api-reference/files/object
type File struct {
	bun.BaseModel `bun:"table:files,alias:f" json:"-"`

	ID          string      `bun:"id,pk" json:"id"`
	UserID      string      `bun:"user_id" json:"-"`
	Filename    string      `bun:"filename" json:"filename"`
	Purpose     FilePurpose `bun:"purpose" json:"purpose"`
	Bytes       int64       `bun:"bytes" json:"bytes"`
	ContentType string      `bun:"content_type" json:"content_type"`
	SHA256      string      `bun:"sha256" json:"sha256"` // in hex
	Status      FileStatus  `bun:"status" json:"status"`
	Key         string      `bun:"blob_key" json:"-"`
	CreatedAt   time.Time   `bun:"created_at" json:"-"`
	ExpiresAt   *time.Time  `bun:"expires_at" json:"-"` // nil: never
}

// IsNode makes File a Relay node.
func (File) IsNode() {}

// FileExpiry says when a file is deleted by itself.
// https://platform.openai.com/docs/api-reference/files/create
type FileExpiry struct {
	Anchor  *string // default, and the only one there is: created_at
	Seconds int
}

// UploadFileInput is a file on its way in.
type UploadFileInput struct {
	File         *Upload
	Purpose      *FilePurpose
	ExpiresAfter *FileExpiry

	// Rest reads what a form has behind the file into the input, once the file is
	// read; nil: the input is whole.
	Rest func(in *UploadFileInput) error
}

// Validate checks the input.
func (in *UploadFileInput) Validate() error {
	switch {
	case in.File == nil || in.File.Reader == nil:
		return Missing("file")
	case in.Purpose == nil || *in.Purpose == "":
		return Missing("purpose")
	}
	return in.ValidateGiven()
}

// ValidateGiven checks what is there already of an input whose rest is still to come.
func (in *UploadFileInput) ValidateGiven() error {
	if in.Purpose != nil && !slices.Contains(FilePurposes(), *in.Purpose) {
		return Invalid("purpose", "'purpose' must be one of %s; got '%s'.", oneOf(FilePurposes()), clip(string(*in.Purpose), 40))
	}
	e := in.ExpiresAfter
	if e == nil {
		return nil
	}
	if e.Anchor != nil && *e.Anchor != "created_at" {
		return Invalid("expires_after.anchor", "'expires_after.anchor' must be created_at.")
	}
	if least, most := int(MinFileLife/time.Second), int(MaxFileLife/time.Second); e.Seconds < least || e.Seconds > most {
		return Invalid("expires_after.seconds", "'expires_after.seconds' must be between %d and %d; got %d.", least, most, e.Seconds)
	}
	return nil
}

// Upload is a file that is read once, as it arrives. It is the GraphQL scalar
// Upload. https://github.com/jaydenseric/graphql-multipart-request-spec
type Upload struct {
	Reader      io.Reader // its errors are the client's when they are an *[Error]
	Filename    func() string
	ContentType func() string // as the client declares it
}

// CleanFilename makes a name harmless: without folders, control characters,
// invisible formatting and invalid UTF-8, and at most 255 bytes long, of which
// the extension is kept.
func CleanFilename(name string) string {
	name = strings.ToValidUTF8(name, "")
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(name)
	if strings.Trim(name, ".") == "" {
		return "file"
	}
	if len(name) <= maxFilename {
		return name
	}
	ext := ""
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 16 {
		ext = name[i:]
	}
	cut := maxFilename - len(ext)
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + ext
}

// FileFilter narrows a list of files.
type FileFilter struct {
	Purpose *FilePurpose
}

// Validate checks the filter.
func (f *FileFilter) Validate() error {
	if f != nil && f.Purpose != nil && !slices.Contains(FilePurposes(), *f.Purpose) {
		return Invalid("purpose", "'purpose' must be one of %s; got '%s'.", oneOf(FilePurposes()), clip(string(*f.Purpose), 40))
	}
	return nil
}

// OpenFile is a file with what is in it. Body reads ranges as they are asked for,
// and must be closed.
type OpenFile struct {
	File *File
	Body io.ReadSeekCloser
}

// MaxFilePiece is how many bytes of a file a [FileContent] may have.
const MaxFilePiece = 1 << 20

// FileContent is a piece of what is in a file.
type FileContent struct {
	Offset int64
	Data   string // in base64
}

type (
	// FileConnection is a page of files.
	FileConnection = Connection[File]
	// FileEdge is a file in a page.
	FileEdge = Edge[File]
)

// UploadFilePayload answers uploadFile.
type UploadFilePayload struct {
	Payload
	File *File
}

// DeleteFilePayload answers deleteFile.
type DeleteFilePayload struct {
	Payload
	DeletedFileID *string
}
