package refusal

import "net/http"

// Refusals of the data plane that E2B's proxy has too. By the first two clients
// distinguish a deleted sandbox from a live one.
var (
	Gone = add(Row{Name: "gone", Status: http.StatusBadGateway, DataPlane: true, E2B: true,
		Text: "The sandbox was not found", Title: "Sandbox Not Found"})
	PortClosed = add(Row{Name: "port closed", Status: http.StatusBadGateway, DataPlane: true, E2B: true, ShowPort: true,
		Text: "The sandbox is running but port is not open", Title: "There is no service running on port"})
	TrafficTokenMissing = add(Row{Name: "traffic token missing", Status: http.StatusForbidden, DataPlane: true, E2B: true,
		Text: "Sandbox is secured with traffic access token. Token header '%s' is missing", Title: "Missing Traffic Access Token"})
	TrafficTokenInvalid = add(Row{Name: "traffic token invalid", Status: http.StatusForbidden, DataPlane: true, E2B: true,
		Text: "Sandbox is secured with traffic access token. Token in header '%s' is invalid", Title: "Invalid Traffic Access Token"})
	ControlRoute = add(Row{Name: "control route", Status: http.StatusNotFound, DataPlane: true, E2B: true,
		Text: "This route is reserved for the E2B control plane"})
	ResumeTokenMissing = add(Row{Name: "resume without token", Status: http.StatusForbidden, DataPlane: true, E2B: true,
		Text: "The sandbox is paused, and only a request with its access token resumes it: header '%s' is missing", Title: "Missing Access Token"})
	ResumeTokenInvalid = add(Row{Name: "resume with a wrong token", Status: http.StatusForbidden, DataPlane: true, E2B: true,
		Text: "The sandbox is paused, and only a request with its access token resumes it: the token in header '%s' is invalid", Title: "Invalid Access Token"})
)

// Refusals of the data plane that are ours.
var (
	GoneBecause = add(Row{Name: "gone, with the reason", Status: http.StatusBadGateway, DataPlane: true,
		Text: "The sandbox was not found: %s", Title: "Sandbox Not Found"})
	BrokeOff = add(Row{Name: "connection failed", Status: http.StatusBadGateway, DataPlane: true,
		Text: "The connection to the sandbox failed before it answered"})
	HeadTooLarge = add(Row{Name: "response header too large", Status: http.StatusBadGateway, DataPlane: true,
		Text: "The program in the sandbox sent a header that is too large"})
	HeadTooSlow = add(Row{Name: "response header too slow", Status: http.StatusBadGateway, DataPlane: true,
		Text: "The program in the sandbox did not finish its header in time"})
	TooManyHeads = add(Row{Name: "too many large headers", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "Too many responses with large headers are in flight; try again"})
	TooManyStreams = add(Row{Name: "too many connections", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "The server has too many open connections; try again"})
	NotResumed = add(Row{Name: "not resumed", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "The sandbox is paused and could not be resumed"})
	NotResumedBecause = add(Row{Name: "not resumed, with the reason", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "The sandbox is paused and could not be resumed: %s"})
	NotNow = add(Row{Name: "not available", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "The sandbox is not available now: %s"})
	NotFresh = add(Row{Name: "checkout not up to date", Status: http.StatusConflict, DataPlane: true,
		Text: "The checkout in the sandbox is not up to date, so that it can be read only: %s"})
	StillSyncing = add(Row{Name: "checkout being synced", Status: http.StatusConflict, DataPlane: true,
		Text: "The checkout in the sandbox is not up to date yet, so that it can be read only; try again"})
	NotHere = add(Row{Name: "not here", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "The sandbox is on another node, or was made by another driver than the one that runs"})
	Stopping = add(Row{Name: "starting or shutting down", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "The server is starting or shutting down"})
	StillStarting = add(Row{Name: "still starting", Status: http.StatusServiceUnavailable, DataPlane: true,
		Text: "%s"})
	TooMuch = add(Row{Name: "too much without a key", Status: http.StatusTooManyRequests, DataPlane: true,
		Text: "%s"})
	KeyInAddress = add(Row{Name: "key in the address", Status: http.StatusBadRequest, DataPlane: true,
		Text: "The address of the request contains an API key; send the key to the API only, in the X-API-Key header"})
)
