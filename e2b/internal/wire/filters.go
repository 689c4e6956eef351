package wire

import (
	"net/url"
	"strings"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// MaxLimit is the longest page, and the longest list of ids.
const MaxLimit = 100

// ListFilter reads the parameters of a list of sandboxes.
func ListFilter(p openapi.ListSandboxesParams) (sandbox.ListFilter, error) {
	var f sandbox.ListFilter
	var err error
	if f.Metadata, err = ParseMetadata(p.Metadata); err != nil {
		return f, err
	}
	if p.State != nil {
		for _, st := range *p.State {
			if !st.Valid() {
				return f, refusal.Invalidf("state must be running or paused, got %q", string(st))
			}
			f.States = append(f.States, sandbox.State(st))
		}
	}
	if p.Order != nil {
		if !p.Order.Valid() {
			return f, refusal.Invalidf("order must be asc or desc, got %q", string(*p.Order))
		}
		f.Ascending = *p.Order == openapi.Asc
	}
	if p.StartedAfter != nil {
		f.StartedAfter = *p.StartedAfter
	}
	if p.Template != nil {
		if strings.Contains(*p.Template, ":") {
			return f, refusal.Invalidf("the template filter must not have a tag")
		}
		f.Template = *p.Template
	}
	if f.Limit, err = ParseLimit(p.Limit); err != nil {
		return f, err
	}
	f.After, err = ParseCursor(p.NextToken, f.Ascending)
	return f, err
}

// ParseLimit reads the length of a page; nil is the longest.
func ParseLimit(limit *int32) (int, error) {
	if limit == nil {
		return MaxLimit, nil
	}
	if *limit < 1 || *limit > MaxLimit {
		return 0, refusal.Invalidf("limit must be from 1 to %d, got %d", MaxLimit, *limit)
	}
	return int(*limit), nil
}

// ParseMetadata reads a query string whose keys and values are URL-encoded once
// more, as SDKs send it.
func ParseMetadata(raw *string) (map[string]string, error) {
	if raw == nil || *raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(*raw)
	if err != nil {
		return nil, refusal.Invalidf("metadata is not a query string")
	}
	metadata := make(map[string]string, len(query))
	for k, v := range query {
		key, keyErr := url.PathUnescape(k)
		value, valueErr := url.PathUnescape(v[0])
		if keyErr != nil || valueErr != nil || len(v) > 1 {
			return nil, refusal.Invalidf("metadata pair %q is not valid", k)
		}
		metadata[key] = value
	}
	return metadata, nil
}

// Interval is the time that a request is about; a zero time does not bound it.
func Interval(p openapi.GetSandboxMetricsParams) (start, end time.Time, err error) {
	if start, err = unixTime("start", p.Start); err != nil {
		return start, end, err
	}
	if end, err = unixTime("end", p.End); err != nil {
		return start, end, err
	}
	if !start.IsZero() && !end.IsZero() && end.Before(start) {
		err = refusal.Invalidf("end is before start")
	}
	return start, end, err
}

// unixTime reads seconds; the bound is the year 9999, the last that JSON times have.
func unixTime(name string, seconds *int64) (time.Time, error) {
	if seconds == nil {
		return time.Time{}, nil
	}
	if *seconds < 0 || *seconds > 253402300799 {
		return time.Time{}, refusal.Invalidf("%s is out of range", name)
	}
	return time.Unix(*seconds, 0), nil
}

// SnapshotFilter reads the parameters of a list of snapshots.
func SnapshotFilter(p openapi.ListSnapshotsParams) (f sandbox.SnapshotFilter, err error) {
	if p.SandboxID != nil && *p.SandboxID != "" {
		if f.SandboxID, err = ParseID(*p.SandboxID); err != nil {
			return f, err
		}
	}
	if p.Name != nil && *p.Name != "" {
		if f.Name, err = ParseName(*p.Name); err != nil {
			return f, err
		}
		f.AllTags = !strings.Contains(*p.Name, ":")
	}
	if f.Limit, err = ParseLimit(p.Limit); err != nil {
		return f, err
	}
	f.After, err = ParseCursor(p.NextToken, false)
	return f, err
}
