package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestLifecycleRequests(t *testing.T) {
	ctx := t.Context()
	for name, tc := range map[string]struct {
		call   func(API) (any, error)
		want   string // of the request
		status int
		answer string
		got    string
	}{
		"pause": {func(a API) (any, error) { return nil, a.Pause(ctx, "i1", true) },
			`POST /sandboxes/i1/pause {"memory":true}`, 204, "", "<nil>"},
		"pause without memory": {func(a API) (any, error) { return nil, a.Pause(ctx, "i/1", false) },
			`POST /sandboxes/i%2F1/pause {"memory":false}`, 204, "", "<nil>"},
		"connect to a running one": {func(a API) (any, error) {
			sb, resumed, err := a.Connect(ctx, "i1", 90*time.Second)
			return fmt.Sprint(sb.ID, sb.EnvdAccessToken, resumed), err
		}, `POST /v2/sandboxes/i1/connect {"timeout":90}`, 200, `{"sandboxID":"i1","envdAccessToken":"secret"}`, "i1secretfalse"},
		"connect to a paused one": {func(a API) (any, error) {
			sb, resumed, err := a.Connect(ctx, "i1", time.Minute)
			return fmt.Sprint(sb.ID, resumed), err
		}, `POST /v2/sandboxes/i1/connect {"timeout":60}`, 201, `{"sandboxID":"i1"}`, "i1true"},
		"set the timeout": {func(a API) (any, error) { return nil, a.SetTimeout(ctx, "i1", time.Minute) },
			`POST /sandboxes/i1/timeout {"timeout":60}`, 204, "", "<nil>"},
		"set the network": {func(a API) (any, error) {
			return nil, a.SetNetwork(ctx, "i1", Network{Internet: new(false), Allow: []string{"1.1.1.1"}})
		}, `PUT /sandboxes/i1/network {"allowOut":["1.1.1.1"],"allow_internet_access":false}`, 204, "", "<nil>"},
		"clear the network": {func(a API) (any, error) { return nil, a.SetNetwork(ctx, "i1", Network{}) },
			`PUT /sandboxes/i1/network {}`, 204, "", "<nil>"},
		"the network": {func(a API) (any, error) {
			n, err := a.Network(ctx, "i1")
			return fmt.Sprint(n.Internet != nil && !*n.Internet, n.Allow, n.Deny), err
		}, `GET /sandboxes/i1`, 200, `{"allowInternetAccess":false,"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"]}}`, "true [1.1.1.1] [0.0.0.0/0]"},
		"what is refused": {func(a API) (any, error) {
			list, err := a.Refused(ctx, "i1")
			if err != nil {
				return nil, err
			}
			return fmt.Sprint(list[0].Protocol, list[0].Address, list[0].Port, list[0].Count, list[0].LastAt.Second()), err
		}, `GET /sandboxes/i1/network/refused`, 200,
			`[{"protocol":"tcp","address":"1.1.1.1","port":443,"count":2,"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:06Z"}]`, "tcp1.1.1.1443 2 6"},
		"traffic": {func(a API) (any, error) { return a.Traffic(ctx, "i1") }, `GET /sandboxes/i1/network/traffic`, 200,
			`{"bytesOut":1099511627776,"packetsOut":2,"bytesIn":3,"packetsIn":4,"connections":5,"refusedConnections":6,"refusedQueries":7,"refusedPackets":9223372036854775807,` +
				`"hosts":[{"name":"a.example","ports":[443],"queries":1,"connections":2,"firstAt":"2026-01-02T03:04:05Z","lastAt":"2026-01-02T03:04:06Z"}],"forgottenHosts":9}`,
			"{1099511627776 2 3 4 5 6 7 9223372036854775807 [{a.example [443] 1 2 2026-01-02 03:04:05 +0000 UTC 2026-01-02 03:04:06 +0000 UTC}] 9}"},
		"freshness": {func(a API) (any, error) { return a.Freshness(ctx, "i1") }, `GET /sandboxes/i1/freshness`, 200,
			`{"phase":"failed","reason":"r","branch":"b","target":"t","checkout":"/c"}`, "{failed r b t /c}"},
		"fail a sync":     {func(a API) (any, error) { return nil, a.ChangeFreshness(ctx, "i1", SyncFail, "r") }, `POST /sandboxes/i1/freshness/fail {"reason":"r"}`, 204, "", "<nil>"},
		"complete a sync": {func(a API) (any, error) { return nil, a.ChangeFreshness(ctx, "i1", SyncComplete, "") }, `POST /sandboxes/i1/freshness/complete {}`, 204, "", "<nil>"},
		"begin a sync":    {func(a API) (any, error) { return nil, a.ChangeFreshness(ctx, "i1", SyncAgain, "") }, `POST /sandboxes/i1/freshness/sync {}`, 204, "", "<nil>"},
		"no network": {func(a API) (any, error) {
			n, err := a.Network(ctx, "i1")
			return fmt.Sprint(n.Internet, n.Allow, n.Deny), err
		}, `GET /sandboxes/i1`, 200, `{"sandboxID":"i1"}`, "<nil> [] []"},
		"create with rules": {func(a API) (any, error) {
			sb, err := a.CreateWith(ctx, CreateOptions{Template: "base", Timeout: time.Minute, Allow: []string{"1.1.1.1"}, Deny: []string{"0.0.0.0/0"}})
			return sb.ID, err
		}, `POST /v2/sandboxes {"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"]},"timeout":60,"templateID":"base"}`, 201, `{"sandboxID":"i1"}`, "i1"},
		"fork": {func(a API) (any, error) {
			r, err := a.Fork(ctx, "i1", 2, time.Minute)
			if err != nil {
				return nil, err
			}
			return fmt.Sprintf("%d %s %v %v %v", len(r), r[0].Sandbox.ID, r[0].Error, r[1].Sandbox, r[1].Error), err
		}, `POST /sandboxes/i1/fork {"count":2,"timeout":60}`, 201, `[{"sandbox":{"sandboxID":"i2"}},{"error":{"code":429,"message":"no room"}}]`, "2 i2 <nil> <nil> no room"},
		"far too many, for far too long": {func(a API) (any, error) { return a.Fork(ctx, "i1", 1<<32+2, 1<<32*time.Second+time.Minute) },
			`POST /sandboxes/i1/fork {"count":2147483647,"timeout":2147483647}`, 201, `[]`, "[]"},
		"snapshot": {func(a API) (any, error) { return a.Snapshot(ctx, "i1", "") },
			`POST /sandboxes/i1/snapshots {}`, 201, `{"snapshotID":"s1","names":[]}`, "{s1 []}"},
		"named snapshot": {func(a API) (any, error) { return a.Snapshot(ctx, "i1", "ns/a:b") },
			`POST /sandboxes/i1/snapshots {"name":"ns/a:b"}`, 201, `{"snapshotID":"s1","names":["ns/a:b"]}`, "{s1 [ns/a:b]}"},
		"snapshots": {func(a API) (any, error) { return a.Snapshots(ctx) },
			`GET /snapshots`, 200, `[{"snapshotID":"s1","names":[]},{"snapshotID":"s2","names":["a"]}]`, "[{s1 []} {s2 [a]}]"},
		"delete": {func(a API) (any, error) { return nil, a.DeleteSnapshot(ctx, "ns/a:b") },
			`DELETE /templates/ns%2Fa:b`, 204, "", "<nil>"},
		"capture": {func(a API) (any, error) {
			c, err := a.Capture(ctx, "i1", "idle")
			return fmt.Sprint(c.ID, c.SandboxID, c.Reason, c.Bytes, c.CreatedAt.Year()), err
		}, `POST /sandboxes/i1/continuations {"reason":"idle"}`, 201, `{"snapshotID":"s1","sandboxID":"i1","reason":"idle","createdAt":"2026-01-02T03:04:05Z","bytes":7}`, "s1i1idle7 2026"},
		"follow up": {func(a API) (any, error) {
			sb, err := a.FollowUp(ctx, "s1", CreateOptions{Timeout: time.Minute, Pause: true, AutoResume: true})
			if err != nil {
				return nil, err
			}
			return fmt.Sprint(sb.ID, *sb.FollowUp), err
		}, `POST /sandboxes/followups {"snapshotID":"s1","createRequest":{"autoPause":true,"autoResume":{"enabled":true},"timeout":60}}`,
			201, `{"sandboxID":"i2","followUp":{"snapshotID":"s1","reason":"idle"}}`, "i2{s1 idle}"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			api := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = strings.TrimSpace(r.Method + " " + r.URL.EscapedPath() + " " + string(body))
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.answer)
			})
			value, err := tc.call(api)
			if err != nil || got != tc.want || fmt.Sprint(value) != tc.got {
				t.Errorf("%s gave %v, %v", got, value, err)
			}
			api = serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(409)
				io.WriteString(w, `{"code":409,"message":"not now"}`)
			})
			var e *Error
			if _, err := tc.call(api); !errors.As(err, &e) || e.Code != 409 {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

func TestSnapshotsFollowThePages(t *testing.T) {
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("nextToken") == "" {
			w.Header().Set("X-Next-Token", "2")
			io.WriteString(w, `[{"snapshotID":"a"}]`)
			return
		}
		io.WriteString(w, `[{"snapshotID":"b"}]`)
	})
	if got, err := api.Snapshots(context.Background()); err != nil || len(got) != 2 || got[1].ID != "b" {
		t.Errorf("%v, %v", got, err)
	}
}
