package daemon

import (
	"errors"
	"log/slog"
	"os"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/limits"
)

// divideDescriptors returns how many connections a daemon may have open, so
// that it keeps files for its own work. Where the limit is not known the
// server's defaults apply.
func divideDescriptors(log *slog.Logger) limits.Split {
	n, err := host.Descriptors()
	if err != nil {
		log.Warn("could not read the file descriptor limit", "error", err)
		return limits.Split{}
	}
	split := limits.Divide(n)
	log.Info("file descriptors", "limit", n, "clients", split.Clients, "streams", split.Streams)
	return split
}

// daemonScore keeps the kernel from choosing the daemon when the host has no
// memory left: it is small, and its sandboxes end with it.
const daemonScore = "-500"

// protectFromOOM lowers the score of this process. Its children inherit that,
// so the driver sets the score of sandboxes itself.
func protectFromOOM(log *slog.Logger) {
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(daemonScore), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("could not protect the daemon from the OOM killer", "error", err)
	}
}
