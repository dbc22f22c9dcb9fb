package httpapi

// What the tests look at directly: pure functions that the fuzzers and tables
// reach better without a server around them.
var (
	SafeName       = safeName
	ParseInt       = parseInt
	ParseMultipart = parseMultipart
	ParseOptions   = parseOptions
	UnquotePlus    = unquotePlus
	AcceptsGzip    = acceptsGzip
)

// The names above hand these out.
type Field = field

// Parts of a field.
func (p field) Name() string     { return p.name }
func (p field) File() bool       { return p.file }
func (p field) Filename() string { return p.filename }
func (p field) Data() []byte     { return p.data }

// The limits the fuzzers check.
const (
	MaxFields    = maxFields
	MaxFiles     = maxFiles
	MaxFieldSize = maxFieldSize
	MaxName      = maxName
)
