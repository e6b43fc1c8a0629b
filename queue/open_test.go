package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue/queuetest"
)

func TestValidate(t *testing.T) {
	embedded := Embedded{Dir: "data"}
	for _, test := range []struct {
		config Config
		want   []string // parts of the sentences; none when the config is right
	}{
		{config: Config{Embedded: embedded}},
		{config: Config{Embedded: embedded, Replicas: 1, Shards: 64, Limits: Limits{Deliveries: 4096, Records: 16, Logs: 1 << 20}}},
		{config: Config{URL: "nats://a:4222,tls://b:4222", CredentialsFile: "x.creds", CAFile: "ca.pem", Replicas: 3}},
		{config: Config{URL: "nats://a:4222, nats://b"}},
		{config: Config{}, want: []string{"embedded.dir", "url"}},
		{config: Config{Embedded: embedded, URL: "nats://a"}, want: []string{"both set"}},
		{config: Config{Embedded: embedded, Replicas: 3}, want: []string{"one disk"}},
		{config: Config{Embedded: embedded, CredentialsFile: "x", CAFile: "y"}, want: []string{"credentials_file", "ca_file"}},
		{config: Config{URL: "http://a:4222"}, want: []string{"nats://"}},
		{config: Config{URL: "nats://"}, want: []string{"no host"}},
		{config: Config{URL: "nats://a\x00"}, want: []string{"not a URL"}},
		{config: Config{URL: "nats://me:hush@a:4222"}, want: []string{"credentials_file"}},
		{config: Config{URL: "nats://a", Replicas: 2}, want: []string{"1, 3 or 5"}},
		{config: Config{Embedded: embedded, Shards: 65}, want: []string{"shards"}},
		{config: Config{Embedded: embedded, Shards: -1}, want: []string{"shards"}},
		{
			config: Config{Embedded: embedded, Limits: Limits{Deliveries: 511, Records: -1, Logs: 15}},
			want:   []string{"limits.deliveries: 511 MiB for 8 shards", "limits.records", "limits.logs"},
		},
		{config: Config{Embedded: embedded, Shards: 64}, want: []string{"2048 MiB for 64 shards"}},
		{config: Config{Embedded: embedded, Limits: Limits{Logs: 1<<20 + 1}}, want: []string{"none may be above"}},
	} {
		err := test.config.Validate()
		if (err == nil) != (len(test.want) == 0) {
			t.Errorf("%+v: got %v", test.config, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %q, want a word about %q", test.config, err, want)
			}
		}
		if strings.Contains(fmt.Sprint(err), "hush") {
			t.Errorf("the password is in %q", err)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	reopen := func(c Config) (*Queue, error) {
		c.Embedded.Dir = dir
		return Open(t.Context(), c, testLog(t))
	}
	q, err := reopen(Config{Shards: 3})
	must(t, err)
	for i := range 10 {
		accept(t, q, delivery(i, nil))
	}
	must(t, q.Close(t.Context()))

	if _, err = reopen(Config{Shards: 4}); err == nil || !strings.Contains(err.Error(), "created with 3 shards") {
		t.Fatalf("got %v", err)
	}
	// The number need not be given again, and limits may change.
	q, err = reopen(Config{Limits: Limits{Deliveries: 4096}})
	must(t, err)
	equal(t, "shards", len(q.shards), 3)
	info, err := q.shards[0].(*jetStream).handle.Info(t.Context())
	must(t, err)
	equal(t, "limit of a shard", info.Config.MaxBytes, 4096<<20/3)
	for i := range 10 {
		created, err := q.Accept(t.Context(), delivery(i, nil))
		must(t, err)
		equal(t, "created", created, false)
	}
	must(t, q.Close(t.Context()))
	mustBe(t, q.Healthy(t.Context()), ErrUnavailable)
}

func TestForeignStreamIsRefused(t *testing.T) {
	url := queuetest.Server(t)
	conn, err := nats.Connect(url)
	must(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	must(t, err)
	for name, config := range map[string]jetstream.StreamConfig{
		"another storage":  {Name: "slipway_logs", Subjects: []string{"slipway.logs.>"}, Storage: jetstream.MemoryStorage},
		"another subject":  {Name: "slipway_logs", Subjects: []string{"logs.>"}},
		"another purpose":  {Name: "slipway_logs", Subjects: []string{"slipway.logs.>"}, Retention: jetstream.WorkQueuePolicy},
		"another history":  {Name: "slipway_logs", Subjects: []string{"slipway.logs.>"}, MaxMsgsPerSubject: 5},
		"the same subject": {Name: "other", Subjects: []string{"slipway.logs.>"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := js.CreateStream(t.Context(), config)
			must(t, err)
			_, err = Open(t.Context(), Config{URL: url}, testLog(t))
			if err == nil || !strings.Contains(err.Error(), "set up stream slipway_logs") {
				t.Errorf("got %v", err)
			}
			must(t, js.DeleteStream(context.WithoutCancel(t.Context()), config.Name))
		})
	}
}

// What was decided in a stream says nothing about a new stream of the same name.
func TestRecreatedShard(t *testing.T) {
	url := queuetest.Server(t)
	first := open(t, Config{URL: url, Shards: 1})
	came := make(chan jobs.Delivery, 20)
	handle := func(_ context.Context, d jobs.Delivery) error { came <- d; return nil }
	stop := follow(t, first, handle)
	for i := range 10 {
		accept(t, first, delivery(i, nil))
	}
	collect(t, came, 10)
	stop()
	must(t, first.js.DeleteStream(within(t), "slipway_deliveries_0"))
	must(t, first.Close(t.Context()))

	second := open(t, Config{URL: url})
	for i := range 2 { // the second time, from the watermark of the new stream
		accept(t, second, delivery(20+i, nil))
		stop = follow(t, second, handle)
		if got := (<-came).GUID; got != guid(20+i) {
			t.Fatalf("got %s", got)
		}
		stop()
	}
}

func TestUnreachable(t *testing.T) {
	_, err := Open(t.Context(), Config{URL: "nats://127.0.0.1:1"}, testLog(t))
	if err == nil || !strings.Contains(err.Error(), "queue.url: connect to NATS at nats://127.0.0.1:1") {
		t.Fatalf("got %v", err)
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"2.15.2": false, "2.12.0": false, "v2.12.1": false, "3.0.0": false, "dev": false,
		"2.11.9": true, "1.99.0": true, "2.2.0-beta": true,
	} {
		if got := older(version, 2, 12); got != want {
			t.Errorf("%s: got %v", version, got)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		filter, subject string
		want            bool
	}{
		{"", "a.b", true},
		{">", "a", true},
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"*.b", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{"d.*", "p.x", false},
	} {
		if got := matches(test.filter, test.subject); got != test.want {
			t.Errorf("%q, %q: got %v", test.filter, test.subject, got)
		}
	}
}
