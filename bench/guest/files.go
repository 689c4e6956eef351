package guest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
)

// Transfer writes a file, or reads it and compares, as the SDKs do.
func Transfer(ctx context.Context, agent client.Agent, method, path string, content []byte) (time.Duration, error) {
	var body io.Reader
	contentType := ""
	if method == http.MethodPost {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, err := w.CreateFormFile("file", path)
		if err == nil {
			_, err = part.Write(content)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return 0, err
		}
		body, contentType = &form, w.FormDataContentType()
	}
	req, err := http.NewRequestWithContext(ctx, method, agent.BaseURL+envd.FilesPath+"?username=root&path="+path, body)
	if err != nil {
		return 0, err
	}
	req.Header = agent.Header.Clone()
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	begin := time.Now()
	resp, err := agent.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(content))+1<<20))
	took := time.Since(begin)
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("the agent answered %s: %.200q", resp.Status, reply)
	case method == http.MethodGet && !bytes.Equal(reply, content):
		return 0, fmt.Errorf("read %d bytes that are not the %d that were written", len(reply), len(content))
	}
	return took, nil
}
