package e2b

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/e2b/control"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/route"
)

const (
	// startPatience is how long a request waits for the end of a start, so that
	// clients see nothing of a normal one.
	startPatience = 2 * time.Second
	// startRetry is when a request that was refused is worth another try.
	startRetry = 2 * time.Second
)

// startup is the state of a server before it can serve.
type startup struct {
	ready       chan struct{} // closed by Open
	done, total atomic.Int64
}

// over reports whether the start has ended. The fields that Open wrote can be read then.
func (p *startup) over() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// Recovering says how far the start is, for requests that arrive meanwhile. It is safe
// for concurrent use.
func (s *Server) Recovering(done, total int) {
	s.startup.done.Store(int64(done))
	s.startup.total.Store(int64(total))
}

// awaitStart lets a request wait for the end of the start, and reports whether
// it can be served. Otherwise it has been answered. The process is healthy all
// the time: health checkers must not restart it for having many
// sandboxes.
func (s *Server) awaitStart(w http.ResponseWriter, r *http.Request, target route.Target, dataPlane bool) bool {
	if !dataPlane && isPublic(r) {
		control.WriteHealth(w, r, nil)
		return false
	}
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	select {
	case <-s.startup.ready:
		return true
	case <-r.Context().Done():
		return false
	case <-patience.C:
	}
	message := "the server is starting; try again in a moment"
	if total := s.startup.total.Load(); total > 0 {
		message = fmt.Sprintf("the server is starting: %d of %d sandboxes are recovered; try again in a moment", s.startup.done.Load(), total)
	}
	if dataPlane {
		refusal.StillStarting.With(message).After(startRetry).WriteTo(w, r, target.ID, target.Port)
	} else {
		refusal.Starting.With(message).After(startRetry).Write(w)
	}
	return false
}
