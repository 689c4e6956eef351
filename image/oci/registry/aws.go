//go:build linux

package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// awsHost is a private registry of AWS: account, region and the rest of the domain.
var awsHost = regexp.MustCompile(`^[0-9]{12}\.dkr\.ecr\.([a-z0-9-]{1,40})\.(amazonaws\.com(?:\.cn)?)$`)

// maxAWSAnswer bounds what the service answers.
const maxAWSAnswer = 1 << 20

// awsPassword exchanges keys of AWS for a user name and a password of its registry at a host.
// endpoint, if not empty, is used instead of the service of the host's region.
func awsPassword(ctx context.Context, client *http.Client, endpoint, host string, c *Credentials, now time.Time) (username, password string, err error) {
	m := awsHost.FindStringSubmatch(host)
	if m == nil {
		return "", "", fmt.Errorf("%w: keys of AWS are for ACCOUNT.dkr.ecr.REGION.amazonaws.com, not for %.100q", ErrCredentials, host)
	}
	if c.AWSRegion != "" && c.AWSRegion != m[1] {
		return "", "", fmt.Errorf("%w: the region is %.100q, and that of the registry is %s", ErrCredentials, c.AWSRegion, m[1])
	}
	body := []byte("{}")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cmp.Or(endpoint, "https://api.ecr."+m[1]+"."+m[2])+"/", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
	signAWS(req, body, c.AWSAccessKeyID, c.AWSSecretAccessKey, m[1], "ecr", now)
	resp, err := client.Do(req)
	if err != nil {
		return "", "", fmt.Errorf("token of AWS: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAWSAnswer))
	if err != nil {
		return "", "", fmt.Errorf("token of AWS: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("%w: AWS answers %s: %.300q", ErrCredentials, resp.Status, data)
	}
	var answer struct {
		AuthorizationData []struct{ AuthorizationToken []byte }
	}
	if err := json.Unmarshal(data, &answer); err != nil || len(answer.AuthorizationData) == 0 {
		return "", "", fmt.Errorf("%w: AWS answers without a token", ErrCredentials)
	}
	username, password, ok := strings.Cut(string(answer.AuthorizationData[0].AuthorizationToken), ":")
	if !ok {
		return "", "", fmt.Errorf("%w: AWS answers with a token of an unknown form", ErrCredentials)
	}
	return username, password, nil
}

// signAWS signs a request without a query by version 4 of AWS's signatures: host, time and all
// headers that are set.
func signAWS(req *http.Request, body []byte, key, secret, region, service string, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	scope := strings.Join([]string{stamp[:8], region, service, "aws4_request"}, "/")
	req.Header.Set("X-Amz-Date", stamp)
	headers := map[string]string{"host": req.URL.Host}
	for name := range req.Header {
		headers[strings.ToLower(name)] = strings.TrimSpace(req.Header.Get(name))
	}
	names := slices.Sorted(maps.Keys(headers))
	var canonical strings.Builder
	canonical.WriteString(req.Method + "\n" + req.URL.EscapedPath() + "\n\n")
	for _, name := range names {
		canonical.WriteString(name + ":" + headers[name] + "\n")
	}
	signed := strings.Join(names, ";")
	canonical.WriteString("\n" + signed + "\n" + hexSum(body))
	mac := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hexSum([]byte(canonical.String()))) {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(part))
		mac = h.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/"+scope+", SignedHeaders="+signed+", Signature="+hex.EncodeToString(mac))
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
