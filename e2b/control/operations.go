package control

import (
	"log/slog"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
)

// operations are those of the API: one method for each of api/openapi.yaml, which reads the
// request, asks the runtime, and answers. It is safe for concurrent use.
type operations struct {
	runtime   Runtime
	metrics   MetricsReader
	life      lifecycle
	catalogue catalogue
	answers   *idempotency.Answers
	bodies    *Bodies
	rules     rules
	show      presenter
	reply     replier
	log       *slog.Logger
}

var _ openapi.ServerInterface = (*operations)(nil)
