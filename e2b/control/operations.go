package control

import (
	"log/slog"
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/control/events"
	"github.com/rundlet/rundlet/e2b/control/templates"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/wire"
)

// Events are the operations on events.
type Events = events.Operations

// operations are those of the API: one method for each of api/openapi.yaml, which reads the
// request, asks the runtime, and answers. It is safe for concurrent use.
type operations struct {
	*templates.Operations
	*Events

	runtime   Runtime
	metrics   MetricsReader
	life      lifecycle
	catalogue templates.Catalogue
	answers   *idempotency.Answers
	bodies    *exchange.Bodies
	rules     rules
	show      presenter
	reply     exchange.Replier
	log       *slog.Logger
}

var _ openapi.ServerInterface = (*operations)(nil)

// about reads the id of a sandbox that a request is about, and its body as Decode does.
func (o *operations) about(w http.ResponseWriter, r *http.Request, id string, v any, optional bool) (string, error) {
	id, err := wire.ParseID(id)
	if err != nil {
		return "", err
	}
	return id, o.bodies.Decode(w, r, v, optional)
}
