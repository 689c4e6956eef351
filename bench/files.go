package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/guest"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/bench/rows"
	"github.com/rundlet/rundlet/client"
)

// files pushes and pulls files of random bytes. The bare mechanism has cat.
func files(ctx context.Context, m *measurement) (err error) {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	sb, err := m.create(ctx)
	if err != nil {
		return err
	}
	defer m.kill(ctx, sb.ID, &err)
	for _, size := range m.plan.FileBytes {
		content := make([]byte, size)
		rand.Read(content)
		push, pull := m.Row("push", float64(size)/1024, "KiB"), m.Row("pull", float64(size)/1024, "KiB")
		push.BareName, pull.BareName = "cat by runsc exec", "cat by runsc exec"
		n := m.plan.Samples
		if size > 4<<20 {
			n = max(1, n/3)
		}
		err := m.rounds(ctx, n, func(int) error {
			return m.fileRound(ctx, sb, content, push, pull)
		})
		if err != nil {
			return err
		}
		for _, r := range []*rows.Row{push, pull} {
			m.Fact("%s of %s KiB: %s MB/s, bare %s MB/s (medians)", r.Name, fmt.Sprint(r.X), rate(size, r.Mine), rate(size, r.Other))
		}
	}
	return nil
}

func (m *measurement) fileRound(ctx context.Context, sb client.Sandbox, content []byte, push, pull *rows.Row) error {
	const file, bareFile = "/tmp/rundlet-bench", "/tmp/rundlet-bench-bare"
	_, took, err := m.server.Bare.Exec(ctx, sb.ID, content, "/bin/sh", "-c", "cat > "+bareFile)
	if err != nil {
		return fmt.Errorf("bare push: %w", err)
	}
	m.Bare(push, took)
	begin := m.now()
	if took, err = guest.Transfer(ctx, m.server.API.Agent(sb), http.MethodPost, file, content); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	m.Ours(push, cost.Cost{Wall: took, Processor: m.since(begin).Processor})
	if _, took, err = m.server.Bare.Exec(ctx, sb.ID, nil, "/bin/cat", bareFile); err != nil {
		return fmt.Errorf("bare pull: %w", err)
	}
	m.Bare(pull, took)
	begin = m.now()
	if took, err = guest.Transfer(ctx, m.server.API.Agent(sb), http.MethodGet, file, content); err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	m.Ours(pull, cost.Cost{Wall: took, Processor: m.since(begin).Processor})
	return nil
}

// rate is in MB/s, by the median of milliseconds.
func rate(size int, ms []float64) string {
	p50 := report.SeriesOf(ms).P50
	if p50 == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(size)/1e6/(p50/1e3))
}
