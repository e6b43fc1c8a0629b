package deploy

import (
	"net/http/httptest"
	"testing"
)

func TestConfinement(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		ok           bool
	}{
		{"GET", "/version", true},
		{"GET", "/api", true},
		{"GET", "/api/v1", true},
		{"GET", "/apis", true},
		{"GET", "/apis/apps/v1", true},
		{"GET", "/openapi/v3/apis/apps/v1", true},
		{"GET", "/api/v1/namespaces/tks", true},
		{"GET", "/api/v1/namespaces/tks/secrets", true},
		{"PATCH", "/apis/apps/v1/namespaces/tks/deployments/shop", true},
		{"GET", "/k8s/clusters/c-1/api/v1/namespaces/tks/pods", true},
		{"GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", true},

		{"POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", false},
		{"DELETE", "/api/v1/namespaces/tks", false},
		{"GET", "/api/v1/namespaces/kube-system/secrets/x", false},
		{"GET", "/api/v1/namespaces", false},
		{"GET", "/api/v1/secrets", false},
		{"GET", "/api/v1/nodes/n/proxy/x", false},
		{"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", false},
		{"PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin", false},
		{"PATCH", "/apis/apps/v1/namespaces/tks-2/deployments/shop", false},
		{"GET", "/api/v1/namespaces/tks/../kube-system/secrets", false},
		{"GET", "/metrics", false},
		{"GET", "/logs/kube-apiserver.log", false},
		{"GET", "/", false},
	} {
		req := httptest.NewRequest(tc.method, "http://x"+tc.path, nil)
		c := &confinement{namespace: "tks"}
		if err := c.check(req); (err == nil) != tc.ok {
			t.Errorf("%s %s: %v", tc.method, tc.path, err)
		}
		if (c.firstRefused() == nil) != tc.ok {
			t.Errorf("%s %s: not remembered", tc.method, tc.path)
		}
		if err := (&confinement{}).check(req); err != nil {
			t.Errorf("%s %s unconfined: %v", tc.method, tc.path, err)
		}
	}
}
