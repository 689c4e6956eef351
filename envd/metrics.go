package envd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Metrics is the agent's answer to a request for MetricsPath: what the guest
// uses. Sizes are in bytes where the name has no unit.
type Metrics struct {
	// Timestamp is the guest's time in Unix seconds.
	Timestamp int64 `json:"ts"`
	CPUCount  int   `json:"cpu_count"`
	// CPUUsedPct is the use of all processors since the previous answer, from 0
	// to 100.
	CPUUsedPct float64 `json:"cpu_used_pct"`
	MemTotal   int64   `json:"mem_total"`
	// MemUsed is neither free nor cache.
	MemUsed     int64 `json:"mem_used"`
	MemCache    int64 `json:"mem_cache"`
	MemTotalMiB int64 `json:"mem_total_mib"`
	MemUsedMiB  int64 `json:"mem_used_mib"`
	DiskUsed    int64 `json:"disk_used"`
	DiskTotal   int64 `json:"disk_total"`
}

// ReadMetrics asks the agent for them; token is that of its clients, if it has one.
// They are the word of a guest, which may be anything.
func ReadMetrics(ctx context.Context, dial Dial, token string) (m Metrics, err error) {
	const op = "metrics"
	conn, err := dial(ctx)
	if err != nil {
		return m, fmt.Errorf("agent %s: %w: %w", op, ErrUnreachable, err)
	}
	defer conn.Close()
	request := "GET " + MetricsPath + " HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n"
	if token != "" {
		request += AccessTokenHeader + ": " + token + "\r\n"
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	resp, _, err := exchange(ctx, conn, op, []byte(request+"\r\n"), maxReply)
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return m, replyError(op, resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil { // exchange bounds it.
		return m, broken(ctx, op, err)
	}
	return m, nil
}
