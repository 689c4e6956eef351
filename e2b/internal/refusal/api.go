package refusal

import (
	"net/http"

	"github.com/rundlet/rundlet/envd/signature"
)

// Refusals of the API, and of file URLs by the agent, that E2B has too.
var (
	SandboxNotFound = add(Row{Name: "sandbox not found", Status: http.StatusNotFound, E2B: true,
		Text: `Sandbox "%s" doesn't exist or you don't have access to it`})
	TemplateNotFound = add(Row{Name: "template not found", Status: http.StatusNotFound, E2B: true,
		Text: "template '%s' not found"})
	BuildNotFound = add(Row{Name: "build not found", Status: http.StatusNotFound, E2B: true,
		Text: "build '%s' not found"})
	TagNotFound = add(Row{Name: "tag not found", Status: http.StatusNotFound, E2B: true,
		Text: "tag '%s' not found"})
	BuildStarted = add(Row{Name: "build started already", Status: http.StatusBadRequest, E2B: true,
		Text: "build is not in waiting state"})
	InvalidSandboxID = add(Row{Name: "invalid sandbox id", Status: http.StatusBadRequest, E2B: true,
		Text: "Invalid sandbox ID"})
	PrivateNeedsSecure = add(Row{Name: "private without secure", Status: http.StatusBadRequest, E2B: true,
		Text: "You cannot create a sandbox without public access unless you enable secure envd access via 'secure' flag."})
	NoFilesystemSnapshot = add(Row{Name: "snapshot without memory", Status: http.StatusBadRequest, E2B: true, Cause: "snapshot_filesystem_only_disabled",
		Text: "a snapshot without memory is not supported by this server yet"})
	IdempotencyMismatch = add(Row{Name: "idempotency key of another request", Status: http.StatusUnprocessableEntity, E2B: true, Cause: "idempotency_request_mismatch",
		Text: "this Idempotency-Key was used with another request"})
	SignatureMissing = add(Row{Name: "signature missing", Status: http.StatusUnauthorized, E2B: true,
		Text: signature.ErrMissing.Error()})
	SignatureInvalid = add(Row{Name: "signature invalid", Status: http.StatusUnauthorized, E2B: true,
		Text: signature.ErrInvalid.Error()})
	SignatureExpired = add(Row{Name: "signature expired", Status: http.StatusUnauthorized, E2B: true,
		Text: signature.ErrExpired.Error()})
	BadRouting = add(Row{Name: "bad routing", Status: http.StatusBadRequest, E2B: true,
		Text: "%s"})
	Paused = add(Row{Name: "paused already", Status: http.StatusConflict, E2B: true,
		Text: `Sandbox "%s" is paused already, or just changing its state`})
	Running = add(Row{Name: "running already", Status: http.StatusConflict, E2B: true,
		Text: `Sandbox "%s" is already running`})
	GuestUnhealthy = add(Row{Name: "guest does not answer", Status: http.StatusServiceUnavailable, E2B: true,
		Text: `the agent of sandbox "%s" does not answer, so it was not paused; it goes on running`})
	GuestUnresponsive = add(Row{Name: "guest does not answer after its resume", Status: http.StatusConflict, E2B: true, Cause: "sandbox_snapshot_guest_agent_unresponsive",
		Text: `the agent of sandbox "%s" does not answer after a resume with its memory, so it is paused as before; its files can be booted, with "memory": false`})
	// Invalid is an error in the request itself; its words are those of the check.
	Invalid = add(Row{Name: "invalid", Status: http.StatusBadRequest, E2B: true,
		Text: "%s"})
	KeyMissing = add(Row{Name: "key missing", Status: http.StatusUnauthorized, E2B: true,
		Text: "API key is missing: send it in the X-API-Key header"})
	KeyInvalid = add(Row{Name: "key invalid", Status: http.StatusUnauthorized, E2B: true,
		Text: "Invalid API key"})
)

// Refusals of the API that are ours.
var (
	Unsupported = add(Row{Name: "unsupported", Status: http.StatusNotImplemented,
		Text: "%s is not supported by this server yet"})
	DriverCannot = add(Row{Name: "unsupported by the driver", Status: http.StatusNotImplemented,
		Text: "%s"})
	DockerPush = add(Row{Name: "build by docker push", Status: http.StatusNotImplemented,
		Text: "templates are not built from images that a client pushes; build this one by \"e2b template create\" of @e2b/cli 2.3 or newer, or by Template.build of an SDK"})
	TemplateConflict = add(Row{Name: "conflict of a template", Status: http.StatusConflict,
		Text: "template '%s' is in a state that does not allow this call, or its state is changing"})
	UploadSignature = add(Row{Name: "upload link invalid", Status: http.StatusForbidden,
		Text: "the upload link is not valid: ask for another one, by GET of the same path with an API key"})
	UploadExpired = add(Row{Name: "upload link expired", Status: http.StatusForbidden,
		Text: "the upload link has expired: ask for another one, by GET of the same path with an API key"})
	SandboxNotFoundBecause = add(Row{Name: "sandbox not found, with the reason", Status: http.StatusNotFound,
		Text: `Sandbox "%s" doesn't exist or you don't have access to it: %s`})
	SnapshotNotFound = add(Row{Name: "snapshot not found", Status: http.StatusNotFound,
		Text: "snapshot '%s' not found"})
	NoRoute = add(Row{Name: "no route", Status: http.StatusNotFound,
		Text: "no such route: %s %s"})
	NoMethod = add(Row{Name: "no such method", Status: http.StatusMethodNotAllowed,
		Text: "method %s is not allowed here"})
	BodyTooLarge = add(Row{Name: "body too large", Status: http.StatusRequestEntityTooLarge,
		Text: "request body is larger than %d bytes"})
	TunnelKeyMissing = add(Row{Name: "key missing, for a tunnel", Status: http.StatusProxyAuthRequired,
		Text: "API key is missing: send it in the X-API-Key header, or in Proxy-Authorization as a bearer token or as the password of Basic"})
	TunnelKeyInvalid = add(Row{Name: "key invalid, for a tunnel", Status: http.StatusProxyAuthRequired,
		Text: "Invalid API key"})
	HeaderTooLarge = add(Row{Name: "header too large", Status: http.StatusRequestHeaderFieldsTooLarge,
		Text: "the request header is too large or has too many fields"})
	Conflict = add(Row{Name: "conflict", Status: http.StatusConflict,
		Text: `Sandbox "%s" is in a state that does not allow this call, or its state is changing`})
	NotRunning = add(Row{Name: "not running", Status: http.StatusConflict,
		Text: `Sandbox "%s" is not running`})
	NotCapturable = add(Row{Name: "not capturable", Status: http.StatusConflict,
		Text: `Sandbox "%s" cannot be captured as %s now: use stopped for a paused sandbox, idle or exited for a running one`})
	NotRestorable = add(Row{Name: "not restorable", Status: http.StatusConflict,
		Text: `"%s" cannot be restored on this machine: its snapshot is damaged or missing, or another version created it; the server's log has the reason`})
	Elsewhere = add(Row{Name: "elsewhere", Status: http.StatusConflict,
		Text: `"%s" cannot be used here: %s`})
	HostChanged = add(Row{Name: "host changed", Status: http.StatusConflict,
		Text: `"%s" cannot continue with its memory: the host's file %.200q %s, and a program in the sandbox has it open; its files can still be saved and booted, with "memory": false`})
	AnswerNotKept = add(Row{Name: "response not kept", Status: http.StatusConflict,
		Text: "the request with this Idempotency-Key succeeded before, but its response was too large to keep"})
	ClientGone = add(Row{Name: "client gone", Status: 499, // For the log; the client is gone.
		Text: "the client closed the request"})
	Failed = add(Row{Name: "failed", Status: http.StatusInternalServerError,
		Text: "the request failed on the server; its log has the cause"})
	RecordChanged = add(Row{Name: "record changed", Status: http.StatusInternalServerError,
		Text: `"%s" was left unchanged: another program changed its record; operator action required, see the server's log`})
	NoAnswer = add(Row{Name: "no answer of the agent", Status: http.StatusGatewayTimeout,
		Text: `the agent in sandbox "%s" does not answer; if the sandbox was paused, it is still paused`})
	TooSlow = add(Row{Name: "too slow", Status: http.StatusGatewayTimeout,
		Text: "the server did not finish in time"})
)

// Refusals of the API for want of something: they are ours as well.
var (
	OutOfMemory = add(Row{Name: "out of memory", Status: http.StatusInsufficientStorage,
		Text: `Sandbox "%s": %s`})
	DiskFull = add(Row{Name: "disk full", Status: http.StatusInsufficientStorage,
		Text: "%s"})
	Capacity = add(Row{Name: "no capacity", Status: http.StatusTooManyRequests,
		Text: "%s"})
	NoRoom = add(Row{Name: "insufficient capacity", Status: http.StatusTooManyRequests,
		Text: "%s: %d requested, %d available; try again later, or end or pause sandboxes"})
	NeverFits = add(Row{Name: "never fits", Status: http.StatusBadRequest,
		Text: "%s: %d requested, %d available; the request can never fit, request less"})
	QueueFull = add(Row{Name: "queue full", Status: http.StatusTooManyRequests,
		Text: "too many requests wait for capacity on this machine; try again later"})
	WaitedInVain = add(Row{Name: "queue timeout", Status: http.StatusTooManyRequests,
		Text: "no capacity became free on this machine within the maximum wait; try again later, or end or pause sandboxes"})
	TooMuchWithoutKey = add(Row{Name: "too much without a key, at the API", Status: http.StatusTooManyRequests,
		Text: "%s"})
	TooManyBodies = add(Row{Name: "too many large bodies", Status: http.StatusTooManyRequests,
		Text: "too many large request bodies are being sent; try again in a moment"})
	TooManyUploads = add(Row{Name: "too many uploads", Status: http.StatusTooManyRequests,
		Text: "too many files of builds are being sent; try again in a moment"})
	TooManyEventStreams = add(Row{Name: "too many event streams", Status: http.StatusServiceUnavailable,
		Text: "too many streams of events are open, on this server or of this API key; close some of them, or try again later"})
	TooManyAnswers = add(Row{Name: "too many responses kept", Status: http.StatusTooManyRequests,
		Text: "too many responses to requests with an Idempotency-Key are kept for this API key; try again later, or without an Idempotency-Key"})
	Pressure = add(Row{Name: "pressure", Status: http.StatusServiceUnavailable,
		Text: "this machine is short of memory or disk and accepts no new work; try again later, or end or pause sandboxes"})
	Lacking = add(Row{Name: "lacking", Status: http.StatusServiceUnavailable,
		Text: "%s for its own work; try again later"})
	SandboxNotNow = add(Row{Name: "sandbox not available", Status: http.StatusServiceUnavailable,
		Text: `Sandbox "%s" is not available now: %s`})
	TemplateNotNow = add(Row{Name: "template not available", Status: http.StatusServiceUnavailable,
		Text: `Template "%s" cannot be prepared now: %s`})
	Unavailable = add(Row{Name: "unavailable", Status: http.StatusServiceUnavailable,
		Text: "the server is starting or shutting down"})
	Starting = add(Row{Name: "starting", Status: http.StatusServiceUnavailable,
		Text: "%s"})
	TooManyRequests = add(Row{Name: "too many requests in flight", Status: http.StatusServiceUnavailable,
		Text: "too many requests are in flight; try again in a moment"})
)
