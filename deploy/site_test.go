//go:build engines

package deploy

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-ci/slipway/enginetest"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// site is a namespace of a real cluster to roll the test chart out to.
type site struct {
	t         testing.TB
	engines   *enginetest.Engines
	cluster   *Cluster
	namespace string
	source    *os.Root
	log       *testWriter // of the last rollout
}

var (
	options    = enginetest.Options{NoBuildKit: true}
	getOptions = metav1.GetOptions{}
)

func newSite(t testing.TB, engines *enginetest.Engines) *site {
	t.Helper()
	c, err := OpenCluster(ClusterConfig{Name: "test", KubeconfigFile: engines.Kubeconfig}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.OpenRoot("testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "TestEngine", "").Replace(t.Name()))
	// The engines may have seen the test before, and a namespace takes its time to go.
	namespace := strings.TrimRight(name[:min(len(name), 50)], "-") + "-" + strings.ToLower(rand.Text()[:6])
	t.Cleanup(func() {
		_ = c.client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	})
	return &site{t: t, engines: engines, cluster: c, namespace: namespace, source: source}
}

func (s *site) release(owner Owner, set m) Release {
	return Release{
		Namespace: s.namespace, Name: "shop", Source: s.source, Chart: "shop", Set: set,
		Owner: owner, Timeout: 2 * time.Minute,
	}
}

// rollout must not end with an error.
func (s *site) rollout(rel Release) Outcome {
	s.t.Helper()
	s.log = newTestWriter(s.t)
	out, err := s.cluster.Rollout(s.t.Context(), rel, s.log)
	if err != nil {
		s.t.Fatalf("rollout: %v", err)
	}
	s.t.Logf("%+v in %s", out, out.Took.Round(time.Millisecond))
	if out.Failure != nil {
		s.t.Logf("failure: %+v", *out.Failure)
	}
	return out
}

// deploy must end well.
func (s *site) deploy(owner Owner, set m) Outcome {
	s.t.Helper()
	out := s.rollout(s.release(owner, set))
	if out.Failure != nil || out.Status != StatusDeployed {
		s.t.Fatalf("not deployed: %+v", out)
	}
	return out
}

func (s *site) history() []*release.Release {
	s.t.Helper()
	r := newRecords(s.cluster.client, s.namespace, Owner{}, demoted{testLog(s.t).Handler()})
	history, err := r.history("shop")
	if err != nil {
		s.t.Fatal(err)
	}
	return history
}

// statuses are the revisions' states, oldest first: "superseded deployed".
func (s *site) statuses() string {
	s.t.Helper()
	var all []string
	for _, rel := range s.history() {
		all = append(all, rel.Info.Status.String())
	}
	return strings.Join(all, " ")
}

func (s *site) wantStatuses(want string) {
	s.t.Helper()
	if got := s.statuses(); got != want {
		s.t.Errorf("revisions are %q, want %q", got, want)
	}
}

// greeting is what the running revision's template says.
func (s *site) greeting() string {
	s.t.Helper()
	d, err := s.cluster.client.AppsV1().Deployments(s.namespace).Get(s.t.Context(), "shop", getOptions)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Spec.Template.Annotations["greeting"]
}

func (s *site) wantGreeting(want string) {
	s.t.Helper()
	if got := s.greeting(); got != want {
		s.t.Errorf("the cluster runs %q, want %q", got, want)
	}
}

func (s *site) wantLog(wants ...string) {
	s.t.Helper()
	for _, want := range wants {
		if !strings.Contains(s.log.String(), want) {
			s.t.Errorf("the log does not say %q", want)
		}
	}
}

func wantFailure(t *testing.T, out Outcome, object string, reason Reason, says ...string) {
	t.Helper()
	if out.Failure == nil {
		t.Fatalf("no failure: %+v", out)
	}
	if out.Failure.Object != object || out.Failure.Reason != reason {
		t.Errorf("failure of %q: %s, want %q: %s", out.Failure.Object, out.Failure.Reason, object, reason)
	}
	for _, s := range says {
		if !strings.Contains(out.Failure.Sentence, s) {
			t.Errorf("%q does not say %q", out.Failure.Sentence, s)
		}
	}
}
