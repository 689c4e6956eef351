package control

import (
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/networks"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// The timeouts of requests that give none.
const (
	defaultTimeoutV1 = 15 * time.Second
	defaultTimeoutV2 = 300 * time.Second
)

// maxTemplateName bounds the name that is looked up and echoed.
const maxTemplateName = 256

// CreateSandbox serves the first generation of create: without "secure" the agent
// is open, as it is at E2B.
func (o *operations) CreateSandbox(w http.ResponseWriter, r *http.Request, p openapi.CreateSandboxParams) {
	o.create(w, r, defaultTimeoutV1, false, p.IdempotencyKey)
}

// CreateSandboxV2 serves the second: a longer default, always secured.
func (o *operations) CreateSandboxV2(w http.ResponseWriter, r *http.Request, p openapi.CreateSandboxV2Params) {
	o.create(w, r, defaultTimeoutV2, true, p.IdempotencyKey)
}

func (o *operations) create(w http.ResponseWriter, r *http.Request, timeout time.Duration, secured bool, idempotencyKey *string) {
	var body openapi.NewSandbox
	err := o.bodies.Decode(w, r, &body, false)
	if err == nil {
		err = checkTemplate(body.TemplateID)
	}
	var req sandbox.CreateRequest
	if err == nil {
		req, err = o.rules.createRequest(exchange.KeyID(r.Context()), &body, timeout, secured)
	}
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	req.Template = wire.BareName(body.TemplateID)
	sb, err := idempotency.Once(r.Context(), o.answers, exchange.KeyID(r.Context()), idempotencyKey, "create", req, func() (sandbox.Sandbox, error) {
		return o.runtime.Create(r.Context(), req)
	})
	if err != nil {
		o.reply.Fail(w, r, err, body.TemplateID)
		return
	}
	exchange.JSON(w, http.StatusCreated, o.show.sandbox(sb))
}

func checkTemplate(id string) error {
	switch {
	case id == "":
		return refusal.Invalidf("templateID is missing")
	case len(id) > maxTemplateName:
		return refusal.Invalidf("templateID is longer than %d bytes", maxTemplateName)
	}
	return nil
}

// rules are the operator's bounds on what a client may ask for.
type rules struct {
	maxTimeout    time.Duration // Config.MaxTimeout
	requireSecure bool          // Config.RequireSecure
}

// createRequest is the body in the runtime's terms, checked, without a template.
func (c rules) createRequest(keyID string, body *openapi.NewSandbox, timeout time.Duration, secured bool) (sandbox.CreateRequest, error) {
	if err := refuse(body); err != nil {
		return sandbox.CreateRequest{}, err
	}
	req := sandbox.CreateRequest{
		Metadata:      body.Metadata,
		Env:           body.EnvVars,
		Secure:        secured || isTrue(body.Secure) || c.requireSecure,
		AllowInternet: body.AllowInternetAccess,
		AutoResume:    body.AutoResume != nil && isTrue(body.AutoResume.Enabled),
		KeyID:         keyID,
	}
	if isTrue(body.AutoPause) {
		req.OnTimeout = sandbox.OnTimeoutPause
		if isFalse(body.AutoPauseMemory) {
			req.OnTimeout = sandbox.OnTimeoutPauseFilesystem
		}
	}
	if n := body.Network; n != nil {
		req.AllowPublicTraffic = n.AllowPublicTraffic
		var err error
		if req.Egress, req.Ingress, err = networks.Of(n); err != nil {
			return req, err
		}
	}
	if c.requireSecure && !secured && isFalse(body.Secure) {
		return req, refusal.Invalidf("this server creates only secured sandboxes: omit \"secure\", or send true")
	}
	if isFalse(req.AllowPublicTraffic) && !req.Secure {
		return req, refusal.PrivateNeedsSecure.With()
	}
	var err error
	req.Timeout, err = c.timeout(body.Timeout, timeout)
	return req, err
}

func isTrue(p *bool) bool { return p != nil && *p }

func isFalse(p *bool) bool { return p != nil && !*p }

// timeout is the timeout in seconds that a request gives, checked, or def.
func (c rules) timeout(seconds *int32, def time.Duration) (time.Duration, error) {
	if seconds == nil {
		return min(def, c.maxTimeout), nil
	}
	d := time.Duration(*seconds) * time.Second
	switch {
	case d <= 0:
		return 0, refusal.Invalidf("timeout must be positive, got %d", *seconds)
	case d > c.maxTimeout:
		return 0, refusal.Invalidf("timeout cannot be greater than %d seconds, got %d", int64(c.maxTimeout.Seconds()), *seconds)
	}
	return d, nil
}

// newTimeout is the timeout that a running sandbox gets; 0 ends it.
func (c rules) newTimeout(body *openapi.SandboxTimeout) (time.Duration, error) {
	switch {
	case body.Timeout == nil:
		return 0, refusal.Invalidf("timeout is missing")
	case *body.Timeout == 0:
		return 0, nil
	}
	return c.timeout(body.Timeout, 0)
}

// refuse rejects requested features that this server does not have. A sandbox must
// never be looser than requested, so no feature with an effect is ignored. mcp has
// none: at E2B it is counted, and SDKs start the
// gateway in the sandbox themselves.
func refuse(b *openapi.NewSandbox) error {
	switch {
	case isFalse(b.AutoPauseMemory) && !isTrue(b.AutoPause):
		return refusal.Invalidf("autoPauseMemory false needs autoPause true")
	case isFalse(b.AutoPauseMemory) && b.AutoResume != nil && isTrue(b.AutoResume.Enabled):
		return refusal.Invalidf("autoPauseMemory false cannot be combined with autoResume: without memory only a connect resumes")
	case len(b.Iam) > 0:
		return refusal.Unsupported.With("iam")
	case len(b.VolumeMounts) > 0:
		return refusal.Unsupported.With("volumeMounts")
	}
	return nil
}
