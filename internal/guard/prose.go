package guard

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// prose are spellings that have another one in the field's English, which people
// search for. Patterns are in pieces so that this file passes.
var prose = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)time` + `-outs?\b`), "timeout"},
	{regexp.MustCompile(`(?i)\bleav` + `ings\b`), "orphans"},
	{regexp.MustCompile(`(?i)\bdealt ` + `with\b`), "the verb itself, such as recovered or handled"},
	// A word that ends in r may be a comparison, as in "is no longer".
	{regexp.MustCompile(`(?:^|[^e]|[^r]e) (?:is|are) no (?:[a-z]*[a-qs-z]|error|helper|number|server|user)\b`), "is not a"},
	{regexp.MustCompile(`\b[Nn]o` + `body(?:'s)?(?:,? [a-z]|[.;]|$)|\bof no` + `body\b|\b[Nn]o ` + `one\b`), "no client, no process, none, or the passive"},
	{regexp.MustCompile(`\b(?:is|are|was|were|be|been) to` + `ld\b`), "gets, is notified, or is reported"},
	{regexp.MustCompile(`\b[Tt]e` + `lls? (?:what|whether|how|who|which|that|it|its|when|where|if|apart)\b`), "reports, returns, checks or distinguishes"},
	{regexp.MustCompile(`(?i)\bwho` + `ever\b|\b(?:to|for|by|from) who\b|\b(?:those|somebody|everybody|anybody) who\b`), "the caller, the client, the owner, ..."},
	{regexp.MustCompile(`(?i)\bcarr(?:y|ies|ied) ` + `out\b`), "apply, execute or do"},
	{regexp.MustCompile(`\b[Oo]f (?:its|their) ` + `own\b`), "separate, private, new, or the owner before the noun"},
	{regexp.MustCompile(`\bby (?:it|them)` + `sel(?:f|ves)\b`), "the cause, or what it happens without"},
	{regexp.MustCompile(`\b(?:is|are) what [^.]*\b(?:needs?|made) ` + `of\b`), "is the part of X that Y uses, or holds the settings of"},
	{regexp.MustCompile(`\b[Ww]hat be` + `comes of\b`), "the outcome, the answer or the state"},
	{regexp.MustCompile(`\bthere is no ` + `help\b`), "the effect"},
	{regexp.MustCompile(`\*What (?:is|are|was) [a-z]+ is ` + `an?\b`), "X is a Y"},
	{regexp.MustCompile(`\bin ` + `vain\b`), "without effect"},
	{regexp.MustCompile(`(?i)\bas it was ` + `asked\b|\bgate is ` + `shut\b|\bthe ` + `house\b`), "the thing itself, without a metaphor"},
}

// written are the kinds of files that people read.
var written = map[string]bool{".go": true, ".md": true, ".sh": true, ".sql": true, ".yaml": true, ".js": true, ".mjs": true, ".py": true, "": true}

// Prose checks the words of one file.
func Prose(name string, content []byte) []Finding {
	if !written[path.Ext(name)] || strings.ContainsRune(string(content[:min(len(content), 512)]), 0) {
		return nil
	}
	var out []Finding
	for i, line := range strings.Split(string(content), "\n") {
		for _, p := range prose {
			if m := p.pattern.FindString(line); m != "" {
				out = append(out, findingf(fmt.Sprintf("%s:%d", name, i+1), "has %q: write %s", m, p.instead))
			}
		}
	}
	return out
}
