package sandbox

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// CreateRequest asks for a sandbox. The zero value of a field means "not
// given". Create validates it.
type CreateRequest struct {
	// Template is an id or an alias, with or without ":tag", or the id or a name
	// of a snapshot.
	Template string
	// Timeout until the sandbox is killed; must be positive.
	Timeout       time.Duration
	Metadata      map[string]string
	Env           map[string]string
	Secure        bool
	AllowInternet *bool
	Egress        Egress
	Ingress       Ingress
	// AllowPublicTraffic nil or true: ports are open to all clients that reach the proxy.
	AllowPublicTraffic *bool
	OnTimeout          OnTimeout
	AutoResume         bool
	KeyID              string
}

// ForkRequest asks for copies of a running sandbox.
type ForkRequest struct {
	// Count is how many, 1 to MaxForks.
	Count int
	// Timeout of each child; must be positive.
	Timeout time.Duration
	KeyID   string
}

// MaxForks is the most children of one fork, as in E2B.
const MaxForks = 100

// ForkResult is one child, or why there is none.
type ForkResult struct {
	Sandbox Sandbox
	Err     error
}

// asked is how a CreateRequest is recorded. Fields are only ever added: rows keep
// what an earlier version wrote.
type asked struct {
	Template           string            `json:"template"`
	TimeoutMS          int64             `json:"timeout_ms"`
	Metadata           map[string]string `json:"metadata,omitempty"`
	EnvNames           []string          `json:"env_names,omitempty"`
	EnvNamesOmitted    int               `json:"env_names_omitted,omitempty"`
	Secure             bool              `json:"secure"`
	AllowInternet      *bool             `json:"allow_internet,omitempty"`
	Egress             *Egress           `json:"egress,omitempty"`
	Ingress            *Ingress          `json:"ingress,omitempty"`
	AllowPublicTraffic *bool             `json:"allow_public_traffic,omitempty"`
	OnTimeout          OnTimeout         `json:"on_timeout,omitempty"`
	AutoResume         bool              `json:"auto_resume,omitempty"`
	KeyID              string            `json:"key_id,omitempty"`
}

// Bounds of a record: it stays for a week after the sandbox, and each start reads many
// of them. A name that can be found is shorter than maxRecordedTemplate.
const (
	maxRecordedTemplate = 256
	maxRecordedNames    = 8 << 10
)

// Record returns the original request as JSON, without the additions of a template or
// of defaults. It has only the names of environment variables, as many as
// maxRecordedNames bytes of JSON hold, and the number of the others, and only the names of
// headers: the values may be secrets, and the record outlives the sandbox.
func (r CreateRequest) Record() string {
	names := slices.Sorted(maps.Keys(r.Env))
	kept := 0
	for size := 0; kept < len(names); kept++ {
		text, _ := json.Marshal(names[kept])
		if size += len(text) + 1; size > maxRecordedNames {
			break
		}
	}
	var egress *Egress
	if rules := r.Egress.WithoutValues(); !rules.Empty() {
		egress = &rules
	}
	var ingress *Ingress
	if !r.Ingress.Empty() {
		ingress = &r.Ingress
	}
	text, _ := json.Marshal(asked{ // It encodes: it has no type that could not.
		Template: r.Template[:min(len(r.Template), maxRecordedTemplate)], TimeoutMS: r.Timeout.Milliseconds(), Metadata: r.Metadata,
		EnvNames: names[:kept], EnvNamesOmitted: len(names) - kept,
		Secure: r.Secure, AllowInternet: r.AllowInternet, Egress: egress, Ingress: ingress, AllowPublicTraffic: r.AllowPublicTraffic,
		OnTimeout: r.OnTimeout, AutoResume: r.AutoResume, KeyID: r.KeyID,
	})
	return string(text)
}
