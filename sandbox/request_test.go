package sandbox

import (
	"encoding/json"
	"fmt"
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
		Egress: Egress{
			Headers: map[string]map[string]string{"a.example": {"X-Key": "hunter2"}},
			Proxy:   &Proxy{Address: "a:1", Username: "u", Password: "hunter2", TLS: &ProxyTLS{ServerName: "b", CACert: "hunter2"}},
		},
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
	if !strings.Contains(text, `"egress":{"headers":{"a.example":{"X-Key":""}},"proxy":{"address":"a:1","username":"u","tls":{"server_name":"b"}}}`) {
		t.Errorf("names of headers and no values: %s", text)
	}
	if text := (CreateRequest{}).Record(); text != `{"template":"","timeout_ms":0,"secure":false}` {
		t.Errorf("the zero value: %s", text)
	}
}

// A request of one MiB may be recorded for each of thousands of rows.
func TestTheRecordOfALargeRequestIsSmall(t *testing.T) {
	many, long := map[string]string{}, map[string]string{}
	for i := range 100000 {
		many[fmt.Sprintf("V%05d", i)] = ""
	}
	for i := range 8 {
		long[strings.Repeat("<", 100000)+fmt.Sprint(i)] = "" // Six bytes each in JSON.
	}
	for what, r := range map[string]CreateRequest{
		"many names": {Env: many}, "long names": {Env: long}, "a template that is not looked up": {Template: strings.Repeat("\x01", 1<<20)},
	} {
		text := r.Record()
		var got asked
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(text) > 10000 || len(got.EnvNames)+got.EnvNamesOmitted != len(r.Env) {
			t.Errorf("%s: %d bytes, %d names and %d others, %v", what, len(text), len(got.EnvNames), got.EnvNamesOmitted, err)
		}
	}
	few := CreateRequest{Env: map[string]string{"A": "", strings.Repeat("b", maxRecordedNames): "", "C": ""}}
	if text := few.Record(); !strings.Contains(text, `"env_names":["A","C"],"env_names_omitted":1`) {
		t.Errorf("the order says which are left out: %.300s", text)
	}
}
