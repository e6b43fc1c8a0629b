package deploy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authorization "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// What a rollout needs is asked for in the namespace, and what is refused is named.
func TestDenied(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authorization.SelfSubjectAccessReview
		if r.URL.Path != "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
			http.NotFound(w, r)
			return
		}
		asked := review.Spec.ResourceAttributes
		review.Status.Allowed = asked.Namespace == "shop" && asked.Resource == "secrets" && asked.Verb != "delete"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	}))
	defer api.Close()
	c, err := newCluster("test", &rest.Config{Host: api.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, testLog(t), defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	for namespace, want := range map[string]string{
		"shop":  "create leases.coordination.k8s.io, update leases.coordination.k8s.io, delete secrets",
		"other": "create leases.coordination.k8s.io, update leases.coordination.k8s.io, list secrets, create secrets, update secrets, delete secrets",
	} {
		denied, err := c.Denied(t.Context(), namespace)
		if err != nil || strings.Join(denied, ", ") != want {
			t.Errorf("%s: %v %v", namespace, denied, err)
		}
	}
	api.Close()
	if _, err := c.Denied(t.Context(), "shop"); err == nil {
		t.Error("a cluster that is gone answers")
	}
}
