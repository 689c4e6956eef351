package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// API is the REST API of a server. The zero HTTP is http.DefaultClient.
type API struct {
	HTTP *http.Client
	URL  string
	Key  string
}

// Sandbox is what a list or a look-up returns of a sandbox.
type Sandbox struct {
	ID         string            `json:"sandboxID"`
	TemplateID string            `json:"templateID"`
	Alias      string            `json:"alias,omitempty"`
	State      sandbox.State     `json:"state"`
	StartedAt  time.Time         `json:"startedAt"`
	EndAt      time.Time         `json:"endAt"`
	VCPUs      int               `json:"cpuCount"`
	MemoryMiB  int               `json:"memoryMB"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	// EnvdAccessToken is set by all but List.
	EnvdAccessToken string `json:"envdAccessToken,omitempty"`
	// FollowUp is set of a sandbox that was started from a continuation.
	FollowUp *FollowUp `json:"followUp,omitempty"`
}

// Error is the server's answer to a request it refused.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	// RetryAfter is when it is worth trying again; 0 if the server does not say.
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string { return e.Message }

// CreateOptions say what sandbox to make.
type CreateOptions struct {
	Template string
	Timeout  time.Duration
	// NoInternet denies the sandbox all outbound connections.
	NoInternet bool
	// Allow and Deny are as in Network.
	Allow, Deny []string
	// Headers are as in Network.
	Headers map[string]map[string]string
	// Proxy is as in Network.
	Proxy *Proxy
	// Metadata is kept with the sandbox.
	Metadata map[string]string
	// Pause lets the timeout pause the sandbox, and not kill it.
	Pause bool
	// AutoResume lets traffic to the paused sandbox resume it.
	AutoResume bool
}

// newSandbox leaves out a template that is not given, as for a follow-up.
type newSandbox struct {
	openapi.NewSandbox
	TemplateID string `json:"templateID,omitempty"`
}

func (o CreateOptions) body() newSandbox {
	body := newSandbox{TemplateID: o.Template}
	body.Timeout = seconds(o.Timeout)
	body.Metadata = o.Metadata
	if o.NoInternet {
		body.AllowInternetAccess = new(false)
	}
	if len(o.Allow)+len(o.Deny)+len(o.Headers) > 0 || o.Proxy != nil {
		body.Network = &openapi.SandboxNetwork{AllowOut: o.Allow, DenyOut: o.Deny, Rules: rules(o.Headers), EgressProxy: o.Proxy.body()}
	}
	if o.Pause {
		body.AutoPause = new(true)
	}
	if o.AutoResume {
		body.AutoResume = &openapi.AutoResume{Enabled: new(true)}
	}
	return body
}

func seconds(d time.Duration) *int32 { return number(int(d.Seconds())) }

// number returns n, or the nearest number that fits into the field. The server refuses
// that as too large; what a conversion makes of n could be small, and accepted.
func number(n int) *int32 { return new(int32(min(max(n, math.MinInt32), math.MaxInt32))) }

// Create makes a sandbox from a template.
func (a API) Create(ctx context.Context, template string, timeout time.Duration) (Sandbox, error) {
	return a.CreateWith(ctx, CreateOptions{Template: template, Timeout: timeout})
}

// CreateWith makes a sandbox.
func (a API) CreateWith(ctx context.Context, o CreateOptions) (Sandbox, error) {
	var sb Sandbox
	_, err := a.call(ctx, http.MethodPost, "/v2/sandboxes", o.body(), &sb)
	return sb, err
}

// List returns all sandboxes, newest first.
func (a API) List(ctx context.Context) ([]Sandbox, error) {
	return pages[Sandbox](ctx, a, "/v2/sandboxes")
}

// pages reads a list that comes in pages.
func pages[T any](ctx context.Context, a API, path string) ([]T, error) {
	all := []T{} // an empty list, not null, in JSON
	err := eachPage(ctx, a, path, func(page []T) { all = append(all, page...) })
	if err != nil {
		return nil, err
	}
	return all, nil
}

// eachPage reads an answer that comes in pages.
func eachPage[P any](ctx context.Context, a API, path string, yield func(P)) error {
	seen := map[string]bool{}
	for next := ""; ; {
		var page P
		resp, err := a.call(ctx, http.MethodGet, path+"?limit=100&nextToken="+url.QueryEscape(next), nil, &page)
		if err != nil {
			return err
		}
		yield(page)
		if next = resp.Header.Get("X-Next-Token"); next == "" {
			return nil
		}
		if seen[next] {
			return fmt.Errorf("list %s: the server sent a page twice", path)
		}
		seen[next] = true
	}
}

// Get returns one sandbox, with its access token.
func (a API) Get(ctx context.Context, id string) (Sandbox, error) {
	var sb Sandbox
	_, err := a.call(ctx, http.MethodGet, sandboxPath(id), nil, &sb)
	return sb, err
}

// Kill ends a sandbox.
func (a API) Kill(ctx context.Context, id string) error {
	_, err := a.call(ctx, http.MethodDelete, sandboxPath(id), nil, nil)
	return err
}

func sandboxPath(id string) string { return "/sandboxes/" + url.PathEscape(id) }

// Agent reaches a sandbox's agent through the server.
func (a API) Agent(sb Sandbox) Agent {
	header := http.Header{}
	header.Set(envd.SandboxIDHeader, sb.ID)
	header.Set(envd.SandboxPortHeader, fmt.Sprint(envd.Port))
	if sb.EnvdAccessToken != "" {
		header.Set(envd.AccessTokenHeader, sb.EnvdAccessToken)
	}
	return Agent{HTTP: a.http(), BaseURL: a.URL, Header: header}
}

func (a API) http() *http.Client {
	if a.HTTP != nil {
		return a.HTTP
	}
	return http.DefaultClient
}

// maxReply bounds a reply of the REST API; a page of sandboxes is the largest.
const maxReply = 32 << 20

// Open sends a GET request with a header, and returns the response with its body, which the caller reads and closes; *Error
// if the server refused it.
func Open(ctx context.Context, a API, path string, header http.Header) (*http.Response, error) {
	resp, err := send(ctx, a, http.MethodGet, path, header, nil)
	if err != nil || resp.StatusCode < 300 {
		return resp, err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxReply)) // The status says what happened.
	return nil, refused(resp, body)
}

// send sends a request with the key.
func send(ctx context.Context, a API, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.URL, "/")+path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("X-API-Key", a.Key)
	return a.http().Do(req)
}

// call returns the response with its body read.
func (a API) call(ctx context.Context, method, path string, body, into any) (*http.Response, error) {
	var r io.Reader
	header := http.Header{}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
		header.Set("Content-Type", "application/json")
	}
	resp, err := send(ctx, a, method, path, header, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if len(reply) > maxReply {
		return nil, fmt.Errorf("%s %s: the reply is larger than %d bytes", method, path, maxReply)
	}
	if resp.StatusCode >= 300 {
		return nil, refused(resp, reply)
	}
	if into != nil {
		if err := json.Unmarshal(reply, into); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return resp, nil
}

// refused is the error that a response with this body stands for.
func refused(resp *http.Response, body []byte) *Error {
	e := &Error{Code: resp.StatusCode}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("the server answered %s", resp.Status)
	}
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	return e
}
