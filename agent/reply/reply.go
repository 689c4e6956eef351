// Package reply writes the agent's plain HTTP replies in envd's form. It may
// import the standard library only; the agent's packages import it.
package reply

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Error answers with {"code","message"}.
func Error(w http.ResponseWriter, status int, message string) {
	JSON(w, status, struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{status, message})
}

// JSON answers with v, which must be encodable.
func JSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encode reply: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// If this fails the client is gone, and the error has no receiver.
	_, _ = w.Write(body)
}
