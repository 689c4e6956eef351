package refusal

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// browser matches the names by which browsers call themselves.
var browser = regexp.MustCompile(`(?i)mozilla|chrome|safari|firefox|edge|opera|msie`)

// wantsPage reports a person at a browser: its User-Agent says so, and neither
// Sec-Fetch-Mode nor Accept says that it is a script in one, or wants JSON.
func wantsPage(h http.Header) bool {
	if !browser.MatchString(h.Get("User-Agent")) {
		return false
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" && !strings.Contains(mode, "navigate") {
		return false
	}
	accept := strings.Join(h.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return true
	}
	page, anything, json := weights(accept)
	if page == 0 {
		// A wildcard serves only where JSON is not named.
		return anything > 0 && json == 0
	}
	return page >= json
}

// weights are those that an Accept header gives to pages, to anything that may be
// a page, and to JSON.
func weights(accept string) (page, anything, json float64) {
	for _, part := range strings.Split(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		q := weight(params)
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == "text/html", name == "application/xhtml+xml":
			page = max(page, q)
		case name == "*/*", name == "text/*":
			anything = max(anything, q)
		case name == "application/json", strings.HasSuffix(name, "+json"):
			json = max(json, q)
		}
	}
	return page, anything, json
}

// weight is the parameter q, or 1.
func weight(params string) float64 {
	for _, p := range strings.Split(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		if q, err := strconv.ParseFloat(value, 64); err == nil {
			return q
		}
	}
	return 1
}
