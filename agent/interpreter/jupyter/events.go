//go:build linux

package jupyter

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// formats are the fields of a result, by their types.
var formats = map[string]string{
	"text/plain": "text", "text/html": "html", "text/markdown": "markdown", "image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg",
	"application/pdf": "pdf", "text/latex": "latex", "application/json": "json", "application/javascript": "javascript",
	"application/vnd.e2b.data.v1+json": "data", "application/vnd.e2b.chart.v1+json": "chart",
}

// events are what a client reads for a message, if anything.
func (m message) events() []kernel.Event {
	if m.dropped > 0 {
		return []kernel.Event{kernel.Output("stderr", fmt.Sprintf("[an output of %d bytes was dropped: it is too large]\n", m.dropped))}
	}
	var c struct {
		Name      string                     `json:"name"`
		Text      string                     `json:"text"`
		Count     int                        `json:"execution_count"`
		Data      map[string]json.RawMessage `json:"data"`
		ErrorName string                     `json:"ename"`
		Value     string                     `json:"evalue"`
		Traceback []string                   `json:"traceback"`
	}
	switch m.kind {
	case "stream", "execute_input", "execute_result", "display_data", "update_display_data", "error":
	default:
		return nil
	}
	if err := json.Unmarshal(m.content, &c); err != nil {
		return []kernel.Event{kernel.Output("stderr", "[an output was dropped: "+err.Error()+"]\n")}
	}
	switch m.kind {
	case "stream":
		if c.Text == "" || c.Name != "stdout" && c.Name != "stderr" {
			return nil
		}
		return []kernel.Event{kernel.Output(c.Name, c.Text)}
	case "execute_input":
		return []kernel.Event{kernel.Count(c.Count)}
	case "error":
		return []kernel.Event{kernel.Error(c.ErrorName, c.Value, strings.Join(c.Traceback, "\n"))}
	}
	return []kernel.Event{result(c.Data, m.kind == "execute_result")}
}

// result is a value of the code, or something that it displayed.
func result(data map[string]json.RawMessage, main bool) kernel.Event {
	e, extra := kernel.Event{"type": "result", "is_main_result": main}, map[string]any{}
	for kind, value := range data {
		var text string
		isText := json.Unmarshal(value, &text) == nil
		field, known := formats[kind]
		switch {
		case !known:
			extra[kind] = value
			continue
		case kind == "text/plain":
			e[field] = unquoted(text)
		case isText && strings.HasPrefix(kind, "image/") && kind != "image/svg+xml":
			e[field] = strings.TrimSpace(text)
		default:
			e[field] = value
		}
	}
	if len(extra) > 0 {
		e["extra"] = extra
	}
	return e
}

// unquoted is the text of a string without its quotes, as E2B's server sends it.
func unquoted(text string) string {
	if n := len(text); n > 1 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return text[1 : n-1]
	}
	return text
}
