package config

// A Source is one of the four places a value can come from.
type Source string

// The sources, weakest first.
const (
	Default Source = "default"
	File    Source = "file"
	Env     Source = "environment"
	Flag    Source = "flag"
)

// An Origin says where a setting's value was written.
type Origin struct {
	Source Source
	Where  string // "lazyolo.yaml line 3", "MODEL_PATH", "--port"; "" for a default
}

// String returns the origin as messages show it, as in "environment variable PORT".
func (o Origin) String() string {
	switch o.Source {
	case Env:
		return "environment variable " + o.Where
	case Flag:
		return "flag " + o.Where
	case File:
		return o.Where
	}
	return "default"
}

// Origin returns where the setting called name (as in MAX_BODY_MB) comes from,
// and the zero Origin for a name that is no setting.
func (c *Config) Origin(name string) Origin { return c.origins[name] }
