package pool

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestTargetsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		base  Target
		named map[string]int
		want  string
	}{
		"none":             {Target{}, nil, ""},
		"some":             {Target{Ready: 3, Prepared: 1, MaxAge: time.Hour}, map[string]int{"mine": 4, "team/other": 6, "none": 0}, ""},
		"a large base":     {Target{Ready: 100}, map[string]int{"mine": 10}, ""},
		"one too many":     {Target{}, map[string]int{"mine": 4, "other": 7}, "at most 10 warm sandboxes, as many as run on this machine; template other has 7, and 6 are left"},
		"huge":             {Target{}, map[string]int{"mine": math.MaxInt}, "at most 10"},
		"huge together":    {Target{}, map[string]int{"mine": math.MaxInt, "other": math.MaxInt}, "at most 10"},
		"negative":         {Target{}, map[string]int{"mine": -1, "other": 11}, "of template mine must not be negative, got -1"},
		"most negative":    {Target{}, map[string]int{"mine": math.MinInt}, "must not be negative"},
		"not a name":       {Target{}, map[string]int{"A b": 1}, "must be the name of a template"},
		"no name":          {Target{}, map[string]int{"": 1}, "must be the name of a template"},
		"a tag":            {Target{}, map[string]int{"mine:v1": 1}, "without a tag"},
		"the base by name": {Target{}, map[string]int{"base": 1}, "has a separate target"},
		"negative base":    {Target{Ready: -1}, nil, "warm sandboxes must not be negative, got -1"},
		"not prepared":     {Target{Prepared: -2}, nil, "prepared sandboxes must not be negative, got -2"},
		"negative age":     {Target{MaxAge: -time.Second}, nil, "age of warm sandboxes must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.base, "base", c.named, 10)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
