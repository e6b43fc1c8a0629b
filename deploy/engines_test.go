//go:build engines

package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/slipway-ci/slipway/enginetest"
)

func TestEngineInstallUpgradeAdopt(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	out := s.deploy(ownerOfRun("1"), m{"greeting": "x,replicas=3"})
	if out.Revision != 1 || out.Notes != "Shop says x,replicas=3 in revision 1.\n" || out.Adopted {
		t.Errorf("outcome %+v", out)
	}
	s.wantLog("[shop-migrate] preparing the schema", "[shop-migrate] schema is ready", "Deployment shop is ready", "revision 1 is deployed and ready")
	object := "Deployment " + s.namespace + "/shop"
	if len(out.Images) != 1 || out.Images[0].Object != object || out.Images[0].Image != "alpine:latest" || !strings.HasPrefix(out.Images[0].Digest, "sha256:") {
		t.Errorf("images %+v", out.Images)
	}
	ns, err := s.cluster.client.CoreV1().Namespaces().Get(t.Context(), s.namespace, getOptions)
	if err != nil || ns.Labels[managedBy] != "slipway" {
		t.Errorf("namespace labels %v, %v", ns.Labels, err)
	}
	if _, err := s.cluster.client.BatchV1().Jobs(s.namespace).Get(t.Context(), "shop-migrate", getOptions); !apierrors.IsNotFound(err) {
		t.Errorf("the hook was not removed by its policy: %v", err)
	}

	out = s.deploy(ownerOfRun("2"), m{"greeting": "two"})
	if out.Revision != 2 || s.greeting() != "two" {
		t.Errorf("outcome %+v, runs %q", out, s.greeting())
	}
	out = s.deploy(ownerOfRun("2"), m{"greeting": "two"})
	if !out.Adopted || out.Revision != 2 || len(out.Images) != 1 || !strings.Contains(out.Notes, "two") {
		t.Errorf("the same work again: %+v", out)
	}
	s.wantStatuses("superseded deployed")

	t.Run("by hand", func(t *testing.T) {
		// Helm's own binary must find nothing in its way, nor we after it.
		by := exec.CommandContext(t.Context(), s.engines.Helm, "upgrade", "shop", "testdata/shop", "-n", s.namespace,
			"--kubeconfig", s.engines.Kubeconfig, "--set", "greeting=by-hand", "--wait", "--timeout", "60s")
		if said, err := by.CombinedOutput(); err != nil {
			t.Fatalf("helm upgrade: %v\n%s", err, said)
		}
		s.wantGreeting("by-hand")
		if out := s.deploy(ownerOfRun("2"), m{"greeting": "two"}); out.Adopted || out.Revision != 4 {
			t.Errorf("what somebody deployed by hand was taken for our own work: %+v", out)
		}
		s.wantGreeting("two")
	})

	t.Run("another repository", func(t *testing.T) {
		other := testOwner()
		other.Repository, other.RepositoryID = "acme/other", 8
		out := s.rollout(s.release(other, nil))
		wantFailure(t, out, "", ReasonForeignRelease, "belongs to repository acme_shop (ID 7)")
		s.wantGreeting("two")
	})
}

func TestEngineCrashIsRolledBack(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "good"})
	rel := s.release(ownerOfRun("2"), m{"greeting": "bad", "run": "echo opening the till; echo 'fatal: no change'; exit 3"})
	rel.Timeout = 20 * time.Second
	out := s.rollout(rel)
	wantFailure(t, out, "Deployment "+s.namespace+"/shop", "CrashLoopBackOff", `container "app"`, "exit code 3", "Rolled back to revision 1, which is ready.")
	if !slices.Equal(out.Failure.LogTail, []string{"opening the till", "fatal: no change"}) {
		t.Errorf("quoted %q", out.Failure.LogTail)
	}
	if out.Revision != 2 || !out.RolledBack || out.RolledBackTo != 1 || out.Status != StatusRolledBack || len(out.Images) != 1 {
		t.Errorf("outcome %+v", out)
	}
	s.wantGreeting("good")
	s.wantStatuses("superseded failed deployed")
	// The way is free for the fix.
	if out := s.deploy(ownerOfRun("3"), m{"greeting": "fixed"}); out.Revision != 4 {
		t.Errorf("outcome %+v", out)
	}
}

// A Deployment that says it gets no further ends the wait early. It still says so when the rollback begins to wait.
func TestEngineProgressDeadlineIsRolledBack(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "good", "migrate": "", "progressDeadline": 4})
	rel := s.release(ownerOfRun("2"), m{"greeting": "bad", "migrate": "", "progressDeadline": 4, "run": "echo not open yet; exec sleep 3600"})
	out := s.rollout(rel)
	wantFailure(t, out, "Deployment "+s.namespace+"/shop", ReasonUnhealthy, "did not become ready within", "runs but is not ready", "Readiness probe failed", "Rolled back to revision 1, which is ready.")
	if !slices.Equal(out.Failure.LogTail, []string{"not open yet"}) {
		t.Errorf("quoted %q", out.Failure.LogTail)
	}
	if out.Took > rel.Timeout/2 {
		t.Errorf("it took %s: the deadline did not end the wait", out.Took)
	}
	if out.Revision != 2 || !out.RolledBack || out.RolledBackTo != 1 || out.Status != StatusRolledBack || len(out.Images) != 1 {
		t.Errorf("outcome %+v", out)
	}
	s.wantLog("Deployment shop failed: Progress deadline exceeded", "rolled back to revision 1")
	s.wantGreeting("good")
	s.wantStatuses("superseded failed deployed")
}

func TestEngineMissingImage(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	rel := s.release(ownerOfRun("1"), m{"image.tag": "absent", "migrate": ""})
	rel.Timeout = 15 * time.Second
	out := s.rollout(rel)
	if out.Failure == nil || !strings.Contains(string(out.Failure.Reason), "Image") {
		t.Fatalf("outcome %+v", out)
	}
	wantFailure(t, out, "Deployment "+s.namespace+"/shop", out.Failure.Reason, "alpine:absent", "not found", "It was the first installation, so it was removed again.")
	if out.Status != StatusUninstalled {
		t.Errorf("status %s", out.Status)
	}
	s.wantStatuses("")
	if _, err := s.cluster.client.AppsV1().Deployments(s.namespace).Get(t.Context(), "shop", getOptions); !apierrors.IsNotFound(err) {
		t.Errorf("the failed installation is still there: %v", err)
	}
	if out := s.deploy(ownerOfRun("1"), nil); out.Revision != 1 {
		t.Errorf("the next installation is not a clean one: %+v", out)
	}
}

func TestEngineHookFails(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "good"})
	for _, policy := range []string{"before-hook-creation", "hook-failed,before-hook-creation"} {
		out := s.rollout(s.release(ownerOfRun("2"), m{"greeting": "bad", "migrate": "echo 'table is locked'; exit 9", "deletePolicy": policy}))
		wantFailure(t, out, "Job "+s.namespace+"/shop-migrate", ReasonHookFailed, "The hook Job", "exit code 9", "Rolled back")
		if !slices.Equal(out.Failure.LogTail, []string{"table is locked"}) {
			t.Errorf("quoted %q", out.Failure.LogTail)
		}
		s.wantLog("[shop-migrate] table is locked")
		s.wantGreeting("good")
	}
}

// Helm installs custom resource definitions before it renders, and they stay when that fails.
func TestEngineDefinitionsAreInstalledFirst(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	group := s.namespace + ".example.com"
	rel := s.release(testOwner(), nil)
	rel.Chart, rel.AllowClusterScoped = "charts/shop", true
	rel.Source = chartTree(t, map[string]string{
		"charts/shop/templates/x.yaml": `{{ fail "no" }}`,
		"charts/shop/crds/things.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things." + group + "}\n" +
			"spec: {group: " + group + ", scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1, served: true, storage: true, " +
			"schema: {openAPIV3Schema: {type: object}}}]}\n",
	})
	definition := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things." + group
	rest := s.cluster.client.CoreV1().RESTClient()
	t.Cleanup(func() { _ = rest.Delete().AbsPath(definition).Do(context.Background()).Error() })
	out := s.rollout(rel)
	wantFailure(t, out, "", ReasonRenderFailed, "definitions may have been installed", "nothing else was applied")
	if out.Status != StatusFailed || out.Revision != 0 {
		t.Errorf("%+v", out)
	}
	if err := rest.Get().AbsPath(definition).Do(t.Context()).Error(); err != nil {
		t.Errorf("the definition: %v", err)
	}
	s.wantStatuses("")
}

func TestEngineScopeOnTheCluster(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	hook := "metadata: {name: h, namespace: kube-system, annotations: {helm.sh/hook: pre-install}}"
	for _, tc := range []struct {
		name string
		set  m
		says string
	}{
		{"cluster role", m{"extra": "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: stray}}"}, "ClusterRole stray"},
		{"other namespace", m{"extra": "{apiVersion: v1, kind: ConfigMap, metadata: {name: stray, namespace: kube-system}}"}, "ConfigMap kube-system/stray"},
		{"list", m{"extra": "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: stray, namespace: kube-system}}]}"}, "ConfigMap kube-system/stray"},
		{"hook", m{"extra": "apiVersion: v1\nkind: ConfigMap\n" + hook}, "ConfigMap kube-system/h"},
		{"lookup elsewhere", m{"lookup": m{"apiVersion": "v1", "kind": "ServiceAccount", "namespace": "kube-system", "name": "default"}}, "look up /api/v1/namespaces/kube-system/serviceaccounts/default"},
		{"lookup everywhere", m{"lookup": m{"apiVersion": "v1", "kind": "Secret", "namespace": "", "name": ""}}, "look up /api/v1/secrets"},
	} {
		out := s.rollout(s.release(testOwner(), tc.set))
		if out.Status != StatusUnchanged || out.Failure == nil || out.Failure.Reason != ReasonOutsideNamespace || !strings.Contains(out.Failure.Sentence, tc.says) {
			t.Errorf("%s: %+v, %+v", tc.name, out, out.Failure)
		}
		s.wantStatuses("")
	}
	for kind, err := range map[string]error{
		"ConfigMap": getErr(s.cluster.client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "stray", getOptions)),
		"hook":      getErr(s.cluster.client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "h", getOptions)),
		"Role":      getErr(s.cluster.client.RbacV1().ClusterRoles().Get(t.Context(), "stray", getOptions)),
	} {
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s was applied: %v", kind, err)
		}
	}
	t.Run("granted", func(t *testing.T) {
		rel := s.release(testOwner(), m{"extra": "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: " + s.namespace + "}}"})
		rel.AllowClusterScoped = true
		if out := s.rollout(rel); out.Failure != nil {
			t.Errorf("%+v", out.Failure)
		}
		rel.Owner, rel.AllowClusterScoped, rel.Set = ownerOfRun("2"), false, nil
		wantFailure(t, s.rollout(rel), "ClusterRole "+s.namespace, ReasonOutsideNamespace)
	})
}

func getErr[T any](_ T, err error) error { return err }

func TestEngineRefusedByTheServer(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	for _, tc := range []struct {
		name   string
		set    m
		reason Reason
		says   string
	}{
		{"template", m{"extra": "{{"}, ReasonRenderFailed, ""},
		{"unknown kind", m{"extra": "{apiVersion: example.com/v1, kind: Thing, metadata: {name: a}}"}, ReasonRenderFailed, "a kind of object that cluster test does not have"},
		{"unknown field", m{"extra": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, dta: {}}"}, ReasonApplyRefused, "dta"},
		{"invalid name", m{"extra": "{apiVersion: v1, kind: ConfigMap, metadata: {name: A_B}}"}, ReasonApplyRefused, "A_B"},
	} {
		out := s.rollout(s.release(testOwner(), tc.set))
		if out.Failure == nil || out.Failure.Reason != tc.reason || !strings.Contains(out.Failure.Sentence, tc.says) {
			t.Errorf("%s: %+v", tc.name, out.Failure)
		}
	}
}

func TestEngineEndlessTemplateIsAbandoned(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.cluster.timing.render = time.Second
	endless := chartTree(t, map[string]string{
		"charts/shop/templates/a.yaml": "{{ range until 3000 }}{{ range until 10000 }}{{ end }}{{ end }}\n{apiVersion: v1, kind: ConfigMap, metadata: {name: late}}\n",
	})
	rel := s.release(testOwner(), nil)
	rel.Source, rel.Chart = endless, "charts/shop"
	wantFailure(t, s.rollout(rel), "", ReasonRenderFailed, "was not rendered within 1s")
	s.cluster.timing.render = time.Minute
	s.deploy(ownerOfRun("2"), nil)
	s.wantStatuses("deployed")
}

func TestEngineTwoRolloutsRace(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("0"), nil)
	const n = 4
	outcomes := make(chan error, n)
	for i := range n {
		rel := s.release(ownerOfRun(fmt.Sprint("race-", i)), m{"greeting": fmt.Sprint("from ", i), "migrate": "sleep 2"})
		go func() {
			out, err := s.cluster.Rollout(t.Context(), rel, newTestWriter(t))
			if err == nil && out.Failure != nil {
				err = errors.New(out.Failure.Sentence)
			}
			outcomes <- err
		}()
	}
	won := 0
	for range n {
		var held *LeaseHeldError
		switch err := <-outcomes; {
		case err == nil:
			won++
		case !errors.As(err, &held):
			t.Errorf("a loser got: %v", err)
		case !strings.HasPrefix(held.Holder, "acme/shop (7) run race-") || held.Lease != s.namespace+"/slipway-shop":
			t.Errorf("held: %+v", held)
		}
	}
	if won == 0 {
		t.Error("nobody won")
	}
	s.wantStatuses(strings.Repeat("superseded ", won) + "deployed")
}

func TestEngineCancelledRolloutIsRepaired(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "one"})
	shutdown := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	log := &waitingLog{testWriter: newTestWriter(t), until: "[shop-migrate] slow", then: func() { cancel(shutdown) }}
	rel := s.release(ownerOfRun("2"), m{"greeting": "two", "migrate": "echo slow; sleep 60"})
	if out, err := s.cluster.Rollout(ctx, rel, log); !errors.Is(err, shutdown) {
		t.Fatalf("%+v, %v", out, err)
	}
	rel.Set = m{"greeting": "two"}
	if out := s.rollout(rel); out.Failure != nil || out.Revision != 3 {
		t.Errorf("%+v", out)
	}
	s.wantStatuses("superseded failed deployed")
	s.wantGreeting("two")
}

// waitingLog calls then when a line contains until.
type waitingLog struct {
	*testWriter
	until string
	then  func()
	once  atomic.Bool
}

func (w *waitingLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.until)) && w.once.CompareAndSwap(false, true) {
		w.then()
	}
	return w.testWriter.Write(p)
}

func TestEnginePendingByHandIsRefused(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), nil)
	// What a `helm upgrade` by hand leaves when it is killed: the next revision, pending,
	// with the labels of the one before.
	rel := s.history()[0]
	records := newRecords(s.cluster.client, s.namespace, Owner{}, demoted{testLog(t).Handler()})
	rel.Version, rel.Info.Status = 2, common.StatusPendingUpgrade
	if err := records.Driver.Create("sh.helm.release.v1.shop.v2", rel); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, s.rollout(s.release(ownerOfRun("1"), nil)), "", ReasonReleasePending, "is pending-upgrade since", "helm rollback shop -n "+s.namespace)
	wantFailure(t, s.rollBack(s.rollback(ownerOfRun("1"), 0)), "", ReasonReleasePending, "is pending-upgrade since")
	s.wantStatuses("deployed pending-upgrade")
}

func TestEngineUpgradeRequests(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	var count atomic.Int32
	s.cluster.config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			count.Add(1)
			return next.RoundTrip(req)
		})
	})
	for run := range 3 {
		count.Store(0)
		out := s.deploy(ownerOfRun(fmt.Sprint(run)), m{"migrate": "", "greeting": "always"})
		t.Logf("rollout %d: %d requests, %s", run+1, count.Load(), out.Took.Round(time.Millisecond))
	}
	// Two watches and the history of the rollout's own; a read and an apply of the one object;
	// three writes of the record; what runs afterwards. The lease's requests are not counted.
	if got := count.Load(); got > 9 {
		t.Errorf("an upgrade took %d requests", got)
	}
}
