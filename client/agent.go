package client

import (
	"context"
	"net"
	"net/http"

	"github.com/rundlet/rundlet/envd"
)

// Direct is an agent behind a dial function, without a proxy between.
func Direct(dial func(context.Context) (net.Conn, error), accessToken string) Agent {
	header := http.Header{}
	if accessToken != "" {
		header.Set(envd.AccessTokenHeader, accessToken)
	}
	return Agent{
		HTTP: &http.Client{Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableCompression: true,
		}},
		BaseURL: "http://agent",
		Header:  header,
	}
}
