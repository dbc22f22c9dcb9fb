package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"lazyolo/yolo"
)

// What a file of keys may hold, and how long a key is at least.
const (
	maxKeysFile = 1 << 20
	maxKeys     = 1000
	minKey      = 16
	maxName     = 64
)

// A Key is what is known of an API key; the key itself is not.
type Key struct {
	Name    string    // tells keys apart in answers and logs
	Digest  [32]byte  // SHA-256 of the key
	Scopes  [4]bool   // by yolo.Scope
	Expires time.Time // refused from then on; zero: never
	Limits  Limits    // zero fields: the defaults
}

// NewKey makes a random key of 256 bits and returns it with what is kept of it.
func NewKey(name, scopes string) (string, Key, error) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	secret := "lzy_" + base64.RawURLEncoding.EncodeToString(b[:])
	k, err := newKey(name, scopes)
	k.Digest = sha256.Sum256([]byte(secret))
	return secret, k, err
}

// Line is the key as an entry of a file of keys.
func (k Key) Line() string {
	return fmt.Sprintf("- {name: %s, scopes: [%s], sha256: %x}", k.Name, strings.Join(k.scopes(), ", "), k.Digest)
}

func (k Key) scopes() (out []string) {
	for s := yolo.Read; s <= yolo.Admin; s++ {
		if k.may(s) {
			out = append(out, s.String())
		}
	}
	return out
}

func (k Key) may(s yolo.Scope) bool { return int(s) < len(k.Scopes) && k.Scopes[s] }

// sameAs reports whether all but the limits are the same.
func (k Key) sameAs(o Key) bool {
	return k.Name == o.Name && k.Digest == o.Digest && k.Scopes == o.Scopes && k.Expires.Equal(o.Expires)
}

// newKey checks name and scopes; scopes stand between commas, blanks or pluses.
func newKey(name, scopes string) (Key, error) {
	k := Key{Name: name}
	if name == "" || len(name) > maxName || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
		return k, fmt.Errorf("%.80q is no name for a key: use at most %d letters, digits, dots and dashes", name, maxName)
	}
	words := strings.FieldsFunc(scopes, func(r rune) bool { return r == ',' || r == '+' || r == ' ' })
	if len(words) == 0 {
		return k, fmt.Errorf("key %s has no scopes: give some of read, infer and admin", name)
	}
next:
	for _, w := range words {
		for s := yolo.Read; s <= yolo.Admin; s++ {
			if w == s.String() {
				k.Scopes[s] = true
				continue next
			}
		}
		return k, fmt.Errorf("key %s: no scope %.80q: there are read, infer and admin", name, w)
	}
	return k, nil
}

// ParseKeys reads keys written as name:scopes:sha256:DIGEST.
func ParseKeys(texts []string) ([]Key, error) {
	var keys []Key
	for i, t := range texts {
		name, rest, _ := strings.Cut(t, ":")
		scopes, digest, ok := strings.Cut(rest, ":sha256:")
		if !ok {
			return nil, fmt.Errorf("key %d is not of the form name:scopes:sha256:DIGEST", i+1)
		}
		k, err := newKey(name, scopes)
		if err == nil {
			k.Digest, err = parseDigest(name, digest)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, distinct(keys)
}

func parseDigest(name, text string) (d [32]byte, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("key %s: sha256 is not 64 hexadecimal digits", name)
	}
	return [32]byte(b), nil
}

// distinct refuses two keys of one name or one digest: which of them acts would be chance.
func distinct(keys []Key) error {
	if len(keys) > maxKeys {
		return fmt.Errorf("there are %d keys, more than %d", len(keys), maxKeys)
	}
	names, digests := make(map[string]bool), make(map[[32]byte]string)
	for _, k := range keys {
		if names[k.Name] {
			return fmt.Errorf("two keys have the name %s", k.Name)
		}
		if other, twice := digests[k.Digest]; twice {
			return fmt.Errorf("keys %s and %s are the same key", other, k.Name)
		}
		names[k.Name], digests[k.Digest] = true, k.Name
	}
	return nil
}

// An entry is a key in a file.
type entry struct {
	Name       string  `yaml:"name"`
	Scopes     words   `yaml:"scopes"`
	SHA256     string  `yaml:"sha256"`
	Key        string  `yaml:"key"`
	Expires    string  `yaml:"expires"`
	Rate       float64 `yaml:"rate"`
	Burst      int     `yaml:"burst"`
	Concurrent int     `yaml:"concurrent"`
}

// words is a list in YAML, or a text with commas.
type words string

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*w = words(n.Value)
		return nil
	}
	var list []string
	if err := n.Decode(&list); err != nil {
		return errors.New("scopes is not a list of words")
	}
	*w = words(strings.Join(list, ","))
	return nil
}

// ReadKeys reads a file of keys: a YAML list of entries with name, scopes, and
// sha256 or key; if wanted expires (a date or an RFC 3339 time), rate, burst and
// concurrent. A file that others may write, or read where it holds keys in plain,
// is refused; the warning, "" for none, tells of one that others may read. No
// message shows what is in the file but names.
func ReadKeys(path string) (keys []Key, warning string, err error) {
	data, mode, err := readKeysFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("read keys: %w", err)
	}
	keys, plain, err := parseKeysFile(data)
	if err != nil {
		return nil, "", fmt.Errorf("keys file %s: %w", path, err)
	}
	fix := ": run chmod 600 " + path
	switch {
	case mode.Perm()&0o002 != 0:
		return nil, "", fmt.Errorf("keys file %s can be written by everybody%s", path, fix)
	case mode.Perm()&0o004 != 0 && plain:
		return nil, "", fmt.Errorf("keys file %s holds keys in plain and can be read by everybody%s", path, fix)
	case mode.Perm()&0o004 != 0:
		warning = "keys file " + path + " can be read by everybody" + fix
	}
	return keys, warning, nil
}

func readKeysFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path) // #nosec G304 -- the operator names it
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeysFile+1))
	if err == nil && len(data) > maxKeysFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxKeysFile)
	}
	return data, info.Mode(), err
}

// parseKeysFile reads the keys in data, and whether one of them is in plain.
func parseKeysFile(data []byte) (keys []Key, plain bool, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var entries []entry
	if err := dec.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, notEntries(err)
	}
	var more yaml.Node
	if len(entries) > 0 && !errors.Is(dec.Decode(&more), io.EOF) {
		return nil, false, errors.New("it holds more than one document")
	}
	if len(entries) == 0 {
		return nil, false, errors.New("it holds no key; lazyolo key NAME makes one")
	}
	for _, e := range entries {
		k, err := e.key()
		if err != nil {
			return nil, false, err
		}
		keys, plain = append(keys, k), plain || e.Key != ""
	}
	return keys, plain, distinct(keys)
}

// notEntries says where YAML is wrong without repeating what stands there, which
// may be a key.
func notEntries(err error) error {
	if _, rest, ok := strings.Cut(err.Error(), "line "); ok {
		number, _, _ := strings.Cut(rest, ":")
		if len(number) < 8 {
			return fmt.Errorf("line %s: not an entry such as - {name: ci, scopes: [infer], sha256: DIGEST}", number)
		}
	}
	return errors.New("it is not a list of entries such as - {name: ci, scopes: [infer], sha256: DIGEST}")
}

func (e entry) key() (Key, error) {
	k, err := newKey(e.Name, string(e.Scopes))
	switch {
	case err != nil:
		return k, err
	case (e.SHA256 == "") == (e.Key == ""):
		return k, fmt.Errorf("key %s needs either sha256 or key", e.Name)
	case e.SHA256 != "":
		k.Digest, err = parseDigest(e.Name, e.SHA256)
	case len(e.Key) < minKey || len(e.Key) > maxKey || strings.ContainsFunc(e.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		err = fmt.Errorf("key %s: a key has %d to %d ASCII characters without blanks; lazyolo key %s makes one", e.Name, minKey, maxKey, e.Name)
	default:
		k.Digest = sha256.Sum256([]byte(e.Key))
	}
	if err != nil {
		return k, err
	}
	if !(e.Rate >= 0 && e.Rate <= 1e6) || e.Burst < 0 || e.Burst > 1e6 || e.Concurrent < 0 || e.Concurrent > 1e6 {
		return k, fmt.Errorf("key %s: rate, burst and concurrent go from 0 to 1000000", e.Name)
	}
	k.Limits = Limits{e.Rate, e.Burst, e.Concurrent}
	if e.Expires == "" {
		return k, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if k.Expires, err = time.Parse(layout, e.Expires); err == nil {
			return k, nil
		}
	}
	return k, fmt.Errorf("key %s: expires is neither a date such as 2027-01-31 nor an RFC 3339 time", e.Name)
}
