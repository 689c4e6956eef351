package launch

import (
	"os"
	"strconv"
)

// StubScore is the oom_score_adj of the processes that run the guest, and of the sandbox
// process until the driver gives it another.
const StubScore = 900

// SetScore sets the oom_score_adj of a process.
func SetScore(pid, score int) error {
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}
