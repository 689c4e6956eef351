package e2b

import (
	"log/slog"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// operations are those of the API: one method for each of api/openapi.yaml, which reads the
// request, asks the runtime, and answers. It is safe for concurrent use.
type operations struct {
	adapter   RuntimeAdapter
	metrics   MetricsReader
	life      lifecycle
	catalogue catalogue
	answers   *idempotency.Answers
	bodies    bodies
	rules     rules
	show      presenter
	reply     replier
	log       *slog.Logger
}

var _ openapi.ServerInterface = (*operations)(nil)

func newOperations(cfg Config, adapter RuntimeAdapter, proxy *dataplane.Proxy) *operations {
	return &operations{
		adapter:   adapter,
		metrics:   metricsOf(adapter),
		life:      lifecycle{adapter, proxy, cfg.Log},
		catalogue: catalogue{adapter},
		answers:   idempotency.New(),
		bodies:    bodies{quota.NewBudget(allBodies, bodiesOfOne)},
		rules:     rules{cfg.MaxTimeout, cfg.RequireSecure},
		show:      presenter{cfg.Domain, proxy},
		reply:     replier{cfg.Log},
		log:       cfg.Log,
	}
}
