package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestARequestIsRecordedAsItWasAskedWithoutSecrets(t *testing.T) {
	no := false
	text := CreateRequest{
		Template: "base", Timeout: 90 * time.Second, Metadata: map[string]string{"a": "1"},
		Env: map[string]string{"TOKEN": "hunter2", "A": "b-value"}, Secure: true, AllowInternet: &no,
		OnTimeout: OnTimeoutPause, AutoResume: true, KeyID: "k1",
	}.Record()
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got["template"] != "base" || got["timeout_ms"] != 90000.0 || got["allow_internet"] != false || got["on_timeout"] != "pause" || got["key_id"] != "k1" {
		t.Errorf("%s", text)
	}
	if _, said := got["allow_public_traffic"]; said {
		t.Errorf("it says what was not asked: %s", text)
	}
	if !strings.Contains(text, `"env_names":["A","TOKEN"]`) || strings.Contains(text, "hunter2") || strings.Contains(text, "b-value") {
		t.Errorf("names and no values: %s", text)
	}
	if text := (CreateRequest{}).Record(); text != `{"template":"","timeout_ms":0,"secure":false}` {
		t.Errorf("the zero value: %s", text)
	}
}
