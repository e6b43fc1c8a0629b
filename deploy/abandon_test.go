package deploy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// renderServer is an API server with just what Helm asks for until a chart is rendered. It
// keeps every lookup of ConfigMaps waiting until answer is closed.
func renderServer(t *testing.T) (c *Cluster, answer chan struct{}) {
	t.Helper()
	answer = make(chan struct{})
	documents := map[string]string{
		"/version": `{"major":"1","minor":"34","gitVersion":"v1.34.0"}`,
		"/api":     `{"kind":"APIVersions","versions":["v1"]}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[` +
			`{"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap","verbs":["get","list"]}]}`,
		"/apis":                             `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api/v1/namespaces/tks/secrets":    `{"kind":"SecretList","apiVersion":"v1","items":[]}`,
		"/api/v1/namespaces/tks/configmaps": `{"kind":"ConfigMapList","apiVersion":"v1","items":[]}`,
	}
	leases := newLeaseServer(t).Config.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		document, ok := documents[req.URL.Path]
		if !ok {
			leases.ServeHTTP(w, req)
			return
		}
		if strings.HasSuffix(req.URL.Path, "/configmaps") {
			<-answer
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(document))
	}))
	t.Cleanup(server.Close)
	timing := defaultTiming()
	timing.render, timing.drain = 100*time.Millisecond, 10*time.Millisecond
	config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	c, err := newCluster("test", config, testLog(t), timing)
	if err != nil {
		t.Fatal(err)
	}
	return c, answer
}

// Renders that never end are bounded; once they end after all, rollouts go on.
func TestAbandonedRendersAreBounded(t *testing.T) {
	c, answer := renderServer(t)
	rel := Release{Namespace: "tks", Name: "shop", Chart: "charts/shop", Owner: testOwner(), Source: chartTree(t, map[string]string{
		"charts/shop/templates/x.yaml": `{{ lookup "v1" "ConfigMap" "tks" "" }}{{ fail "rendered to the end" }}`,
	})}
	for range maxAbandoned {
		out, err := c.Rollout(t.Context(), rel, newTestWriter(t))
		if err != nil || out.Failure == nil || out.Status != StatusUnchanged || !strings.Contains(out.Failure.Sentence, "not rendered within 100ms") {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if out, err := c.Rollout(t.Context(), rel, newTestWriter(t)); err != nil || out.Failure == nil || !strings.Contains(out.Failure.Sentence, "3 charts of this repository") {
		t.Errorf("one more is rendered: %+v, %v", out, err)
	}
	// Another repository is served still, until there are too many in all.
	rel.Owner.RepositoryID++
	if out, err := c.Rollout(t.Context(), rel, newTestWriter(t)); err != nil || out.Failure == nil || !strings.Contains(out.Failure.Sentence, "not rendered within 100ms") {
		t.Errorf("another's is not rendered: %+v, %v", out, err)
	}
	c.countAbandoned(1, maxAbandonedAll)
	if out, err := c.Rollout(t.Context(), rel, newTestWriter(t)); err == nil || !strings.Contains(err.Error(), "16 charts that were not rendered in time") {
		t.Errorf("one more is rendered: %+v, %v", out, err)
	}
	c.countAbandoned(1, -maxAbandonedAll)
	close(answer)
	c.timing.render = time.Minute
	waitFor(t, func() bool { _, all := c.rendering(0); return all == 0 })
	out, err := c.Rollout(t.Context(), rel, newTestWriter(t))
	if err != nil || out.Failure == nil || !strings.Contains(out.Failure.Sentence, "rendered to the end") {
		t.Errorf("%+v, %v", out, err)
	}
}

// Helm installs custom resource definitions before it renders: then it is not said that nothing changed.
func TestFailureBeforeARevisionIsRecorded(t *testing.T) {
	c, answer := renderServer(t)
	close(answer)
	c.timing.render = time.Minute
	files := map[string]string{"charts/shop/templates/x.yaml": `{{ fail "no" }}`}
	rel := Release{Namespace: "tks", Name: "shop", Chart: "charts/shop", Owner: testOwner(), Source: chartTree(t, files), AllowClusterScoped: true}
	out, err := c.Rollout(t.Context(), rel, newTestWriter(t))
	if err != nil || out.Status != StatusUnchanged || out.Failure == nil || strings.Contains(out.Failure.Sentence, "definitions") {
		t.Errorf("without definitions: %+v, %+v, %v", out, out.Failure, err)
	}
	files["charts/shop/crds/thing.yaml"] = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\n"
	rel.Source = chartTree(t, files)
	out, err = c.Rollout(t.Context(), rel, newTestWriter(t))
	if err != nil || out.Status != StatusFailed || out.Revision != 0 || out.Failure == nil ||
		!strings.HasSuffix(out.Failure.Sentence, "The chart's custom resource definitions may have been installed, since Helm does that first; nothing else was applied.") {
		t.Errorf("with definitions: %+v, %+v, %v", out, out.Failure, err)
	}
}
