package wire

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// RequestedBuild is the answer to the request for a build.
func RequestedBuild(b sandbox.Build) openapi.RequestedTemplateBuild {
	return openapi.RequestedTemplateBuild{
		TemplateID: b.TemplateID, BuildID: b.ID, Names: []string{b.Name}, Aliases: []string{b.Name}, Tags: append([]string{}, b.Tags...),
	}
}

// TemplateOfBuild is the template of a build that was just requested, as older clients want it.
func TemplateOfBuild(b sandbox.Build) openapi.Template {
	return oneTemplate(sandbox.Template{
		ID: b.TemplateID, Aliases: []string{b.Name}, BuildID: b.ID, VCPUs: b.VCPUs, MemoryMiB: b.MemoryMiB, DiskMiB: b.DiskMiB,
		CreatedAt: b.CreatedAt, BuildState: b.State, BuildCount: 1,
	})
}

// TemplateWithBuilds is a template with some of its builds.
func TemplateWithBuilds(t sandbox.Template, builds []sandbox.Build) openapi.TemplateWithBuilds {
	w := oneTemplate(t)
	out := openapi.TemplateWithBuilds{
		TemplateID: w.TemplateID, BuildID: w.BuildID, CpuCount: w.CpuCount, MemoryMB: w.MemoryMB, DiskSizeMB: w.DiskSizeMB,
		Public: w.Public, Aliases: w.Aliases, Names: w.Names, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, BuildCount: w.BuildCount,
		EnvdVersion: w.EnvdVersion, BuildStatus: w.BuildStatus, SpawnCount: w.SpawnCount, LastSpawnedAt: w.LastSpawnedAt,
		Builds: []openapi.TemplateBuild{},
	}
	for _, b := range builds {
		out.Builds = append(out.Builds, templateBuild(b))
	}
	return out
}

func templateBuild(b sandbox.Build) openapi.TemplateBuild {
	disk, version := int32(b.DiskMiB), envd.Version
	out := openapi.TemplateBuild{
		BuildID: b.ID, Status: openapi.TemplateBuildStatus(b.State), CreatedAt: b.CreatedAt.UTC(), UpdatedAt: b.CreatedAt.UTC(),
		CpuCount: int32(b.VCPUs), MemoryMB: int32(b.MemoryMiB), DiskSizeMB: &disk, EnvdVersion: &version,
	}
	if !b.FinishedAt.IsZero() {
		at := b.FinishedAt.UTC()
		out.FinishedAt, out.UpdatedAt = &at, at
	}
	return out
}

// BuildInfo is the state of a build with lines of its log. last are the last lines of the step that failed.
func BuildInfo(b sandbox.Build, lines, last []sandbox.BuildLog) openapi.TemplateBuildInfo {
	info := openapi.TemplateBuildInfo{
		TemplateID: b.TemplateID, BuildID: b.ID, Status: openapi.TemplateBuildStatus(b.State), Logs: []string{}, LogEntries: LogEntries(lines),
	}
	if f := b.Failure; f != nil {
		info.Reason = &openapi.BuildStatusReason{Message: f.Message, Step: f.Step, LogEntries: LogEntries(last)}
	}
	return info
}

// levels are those of lines, the lowest first.
var levels = []openapi.LogLevel{openapi.LogLevelDebug, openapi.LogLevelInfo, openapi.LogLevelWarn, openapi.LogLevelError}

// LogEntries are lines of a build's log, in their order.
func LogEntries(lines []sandbox.BuildLog) []openapi.BuildLogEntry {
	out := make([]openapi.BuildLogEntry, 0, len(lines))
	for _, l := range lines {
		level := openapi.LogLevel(l.Level)
		if !level.Valid() {
			level = openapi.LogLevelInfo // Clients read no others.
		}
		out = append(out, openapi.BuildLogEntry{Timestamp: l.Time.UTC(), Message: l.Message, Level: level, Step: l.Step})
	}
	return out
}

// LogQuery is what a client wants to see of a build's log.
type LogQuery struct {
	// Limit is the number of lines, and Skip how many that match are left out.
	Limit, Skip int
	// Backward: the newest first.
	Backward bool

	level    int
	from, to time.Time // zero does not bound it
}

// All reports whether each line matches.
func (q LogQuery) All() bool { return q.level == 0 && q.from.IsZero() && q.to.IsZero() }

// Matches reports whether it is about a line.
func (q LogQuery) Matches(l sandbox.BuildLog) bool {
	level := max(slices.Index(levels, openapi.LogLevel(l.Level)), 0)
	return level >= q.level && (q.from.IsZero() || !l.Time.Before(q.from)) && (q.to.IsZero() || !l.Time.After(q.to))
}

// StatusLogs reads the parameters of a status.
func StatusLogs(p openapi.GetTemplateBuildStatusParams) (LogQuery, error) {
	q, err := logQuery(p.Limit, p.Level)
	if p.LogsOffset != nil {
		if *p.LogsOffset < 0 {
			return q, refusal.Invalidf("logsOffset must not be negative, got %d", *p.LogsOffset)
		}
		q.Skip = int(*p.LogsOffset)
	}
	return q, err
}

// BuildLogs reads the parameters of a request for a build's log.
func BuildLogs(p openapi.GetTemplateBuildLogsParams) (LogQuery, error) {
	q, err := logQuery(p.Limit, p.Level)
	if err != nil {
		return q, err
	}
	if d := p.Direction; d != nil {
		if !d.Valid() {
			return q, refusal.Invalidf("direction must be forward or backward, got %.64q", string(*d))
		}
		q.Backward = *d == openapi.Backward
	}
	if c := p.Cursor; c != nil {
		switch at, err := unixTime("cursor", seconds(*c)); {
		case err != nil:
			return q, err
		case q.Backward: // All of its last millisecond.
			q.to = at.Add(time.Duration(*c%1000+1)*time.Millisecond - 1)
		default:
			q.from = at.Add(time.Duration(*c%1000) * time.Millisecond)
		}
	}
	return q, nil
}

func seconds(milliseconds int64) *int64 {
	s := milliseconds / 1000
	if milliseconds < 0 {
		s = -1
	}
	return &s
}

func logQuery(limit *int32, level *openapi.LogLevel) (LogQuery, error) {
	q := LogQuery{Limit: MaxLimit}
	if limit != nil {
		if *limit < 0 || *limit > MaxLimit {
			return q, refusal.Invalidf("limit must be from 0 to %d, got %d", MaxLimit, *limit)
		}
		q.Limit = int(*limit)
	}
	if level != nil {
		if q.level = slices.Index(levels, *level); q.level < 0 {
			return q, refusal.Invalidf("level must be debug, info, warn or error, got %.64q", string(*level))
		}
	}
	return q, nil
}

// TemplateTags are tags as lists show them.
func TemplateTags(tags []sandbox.TemplateTag) []openapi.TemplateTag {
	out := make([]openapi.TemplateTag, 0, len(tags))
	for _, t := range tags {
		out = append(out, openapi.TemplateTag{Tag: t.Tag, BuildID: t.BuildID, CreatedAt: t.CreatedAt.UTC()})
	}
	return out
}
