//go:build linux

package registry

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestSignAWS has the request "get-vanilla" of AWS's test suite for signatures.
func TestSignAWS(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.amazonaws.com/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	signAWS(req, nil, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service", time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC))
	const want = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, " +
		"Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAWSPassword(t *testing.T) {
	const host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	keys := &Credentials{Type: "aws", AWSAccessKeyID: "id", AWSSecretAccessKey: "secret", AWSRegion: "eu-west-1"}
	answerOf := func(token string) string {
		return `{"authorizationData":[{"authorizationToken":"` + base64.StdEncoding.EncodeToString([]byte(token)) + `","proxyEndpoint":"https://x"}]}`
	}
	for name, c := range map[string]struct {
		host   string
		keys   *Credentials
		status int
		answer string
		want   string
	}{
		"right":          {host: host, keys: keys, status: 200, answer: answerOf("AWS:pass:word"), want: "AWS pass:word"},
		"region of host": {host: host, keys: &Credentials{AWSAccessKeyID: "id"}, status: 200, answer: answerOf("AWS:x"), want: "AWS x"},
		"other region":   {host: strings.Replace(host, "eu", "us", 1), keys: keys},
		"other host":     {host: "docker.io", keys: keys},
		"begin of host":  {host: host + ".evil.example", keys: keys},
		"refused":        {host: host, keys: keys, status: 400, answer: `{"__type":"UnrecognizedClientException"}`},
		"garbage":        {host: host, keys: keys, status: 200, answer: "garbage"},
		"no token":       {host: host, keys: keys, status: 200, answer: `{"authorizationData":[]}`},
		"odd token":      {host: host, keys: keys, status: 200, answer: answerOf("x")},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/ecr/aws4_request") {
					t.Errorf("request with %v", r.Header)
				}
				w.WriteHeader(c.status)
				write(c.answer)(w, r)
			}))
			defer s.Close()
			user, password, err := awsPassword(t.Context(), s.Client(), s.URL, c.host, c.keys, time.Now())
			if c.want == "" && !errors.Is(err, ErrCredentials) || c.want != "" && (err != nil || user+" "+password != c.want) {
				t.Errorf("%q, %q, %v", user, password, err)
			}
		})
	}
}
