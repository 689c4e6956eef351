package client

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestARecipeIsSentAsAWhole(t *testing.T) {
	for _, tt := range []struct {
		recipe sandbox.Recipe
		want   string
	}{
		{sandbox.Recipe{FromTemplate: "base:v1"}, `{"fromTemplate":"base:v1"}`},
		{sandbox.Recipe{
			FromImage: "a/b", Registry: &sandbox.Registry{Type: "registry", Username: "me", Password: "secret"}, StartCmd: "s", ReadyCmd: "r", Force: true,
			Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"x", ""}, Force: true}, {Type: "COPY", Args: []string{"a", "b"}, FilesHash: "h"}},
		}, `{"force":true,"fromImage":"a/b","fromImageRegistry":{"password":"secret","type":"registry","username":"me"},"readyCmd":"r","startCmd":"s",` +
			`"steps":[{"args":["x",""],"force":true,"type":"RUN"},{"args":["a","b"],"filesHash":"h","type":"COPY"}]}`},
		{sandbox.Recipe{FromImage: "a", Registry: &sandbox.Registry{Type: "aws", AWSAccessKeyID: "i", AWSSecretAccessKey: "k", AWSRegion: "r"}},
			`{"fromImage":"a","fromImageRegistry":{"awsAccessKeyId":"i","awsRegion":"r","awsSecretAccessKey":"k","type":"aws"}}`},
		{sandbox.Recipe{FromImage: "a", Registry: &sandbox.Registry{Type: "gcp", ServiceAccountJSON: "{}"}},
			`{"fromImage":"a","fromImageRegistry":{"serviceAccountJson":"{}","type":"gcp"}}`},
	} {
		got := ""
		api := serve(t, func(w http.ResponseWriter, r *http.Request) {
			var body map[string]any
			text, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(text, &body); err != nil {
				t.Error(err)
			}
			sorted, _ := json.Marshal(body)
			got = string(sorted)
			if r.Method != http.MethodPost || r.URL.Path != "/v2/templates/t1/builds/b1" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			w.WriteHeader(http.StatusAccepted)
		})
		if err := api.StartBuild(t.Context(), BuildRef{TemplateID: "t1", BuildID: "b1"}, tt.recipe); err != nil || got != tt.want {
			t.Errorf("%v, sent\n%s\nwant\n%s", err, got, tt.want)
		}
	}
}
