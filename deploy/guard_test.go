package deploy

import (
	"errors"
	"strings"
	"testing"

	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// offline is a rollout whose API server is known only by a mapper.
func offline(clusterScoped bool) *rollout {
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind, scope := range map[string]meta.RESTScope{
		"v1/ConfigMap": meta.RESTScopeNamespace, "v1/Secret": meta.RESTScopeNamespace, "v1/Namespace": meta.RESTScopeRoot,
		"v1/List":      meta.RESTScopeRoot, // as the mapper made from discovery has it
		"batch/v1/Job": meta.RESTScopeNamespace, "coordination.k8s.io/v1/Lease": meta.RESTScopeNamespace,
		"rbac.authorization.k8s.io/v1/ClusterRole": meta.RESTScopeRoot,
	} {
		i := strings.LastIndexByte(kind, '/')
		gv, err := schema.ParseGroupVersion(kind[:i])
		if err != nil {
			panic(err)
		}
		mapper.Add(gv.WithKind(kind[i+1:]), scope)
	}
	r := &rollout{release: Release{Namespace: "tks", Name: "shop", AllowClusterScoped: clusterScoped}}
	r.getter = &getter{config: &rest.Config{Host: "http://127.0.0.1:1"}, offers: &offers{mapper: mapper}, namespace: "tks"}
	return r
}

const list = `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: fine}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: stray, namespace: kube-system}}
`

func TestScope(t *testing.T) {
	for _, tc := range []struct {
		name, manifest string
		object         string // of the refusal; empty: allowed
		always         bool   // refused even with AllowClusterScoped
	}{
		{"namespace left out", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "", false},
		{"own namespace named", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: tks}}", "", false},
		{"a Secret", "{apiVersion: v1, kind: Secret, metadata: {name: a}, type: Opaque}", "", false},
		{"a Lease", "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: shop-leader}}", "", false},
		{"other namespace", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: kube-system}}", "ConfigMap kube-system/a", false},
		{"cluster-scoped", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: admin}}", "ClusterRole admin", false},
		{"cluster-scoped that names the namespace", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: admin, namespace: tks}}", "ClusterRole", false},
		{"a namespace", "{apiVersion: v1, kind: Namespace, metadata: {name: tks}}", "Namespace tks", false},
		{"second document", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: x}}", "Namespace x", false},
		{"within a List", list, "ConfigMap kube-system/stray", false},
		{"a forged record", "{apiVersion: v1, kind: Secret, metadata: {name: sh.helm.release.v1.other.v9}}", "Secret tks/sh.helm.release.v1.other.v9", true},
		{"a forged record by its type", "{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: a}}", "Secret tks/a", true},
		{"a forged record with a generated name", "{apiVersion: v1, kind: Secret, metadata: {generateName: sh.helm.release.v1.other.v}}", "Secret tks/sh.helm.release.v1.other.v", true},
		{"a forged lease", "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: slipway-other}}", "Lease tks/slipway-other", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := offline(false).kubeClient().Build(strings.NewReader(tc.manifest), false)
			assertScope(t, err, tc.object)
			hooked := offline(false).checkHooks(&release.Release{Hooks: []*release.Hook{
				{Path: "templates/fine.yaml", Manifest: "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"},
				{Path: "templates/hook.yaml", Manifest: tc.manifest},
			}})
			assertScope(t, hooked, tc.object)
			allowed := tc.object
			if !tc.always {
				allowed = ""
			}
			_, err = offline(true).kubeClient().Build(strings.NewReader(tc.manifest), false)
			assertScope(t, err, allowed)
		})
	}
}

func assertScope(t *testing.T, err error, object string) {
	t.Helper()
	var scope *scopeError
	switch {
	case object == "" && err != nil:
		t.Errorf("refused: %v", err)
	case object != "" && !errors.As(err, &scope):
		t.Errorf("not refused but: %v", err)
	case object != "" && !strings.HasPrefix(scope.object, object):
		t.Errorf("refused %q, want %q", scope.object, object)
	}
}

func TestDefinitionsInTheChartAreRefused(t *testing.T) {
	root := chartTree(t, map[string]string{"charts/shop/crds/thing.yaml": "kind: CustomResourceDefinition\n"})
	rel := Release{Namespace: "tks", Name: "shop", Source: root, Chart: "charts/shop"}
	if _, f := rel.load(); f == nil || f.Reason != ReasonOutsideNamespace || !strings.Contains(f.Sentence, "crds/thing.yaml") {
		t.Errorf("got %+v", f)
	}
	rel.AllowClusterScoped = true
	if _, f := rel.load(); f != nil {
		t.Errorf("refused though allowed: %s", f.Sentence)
	}
}
