//go:build engines

package deploy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/slipway-ci/slipway/enginetest"
)

func (s *site) rollback(owner Owner, revision int) Rollback {
	return Rollback{Namespace: s.namespace, Name: "shop", Revision: revision, Owner: owner, Timeout: 2 * time.Minute}
}

// rollBack must not end with an error.
func (s *site) rollBack(back Rollback) Outcome {
	s.t.Helper()
	s.log = newTestWriter(s.t)
	out, err := s.cluster.Rollback(s.t.Context(), back, s.log)
	if err != nil {
		s.t.Fatalf("rollback: %v", err)
	}
	s.t.Logf("%+v in %s", out, out.Took.Round(time.Millisecond))
	if out.Failure != nil {
		s.t.Logf("failure: %+v", *out.Failure)
	}
	return out
}

// wentBack must end well: with this new revision, from one to another.
func (s *site) wentBack(back Rollback, revision, from, to int) Outcome {
	s.t.Helper()
	out := s.rollBack(back)
	if out.Failure != nil || out.Status != StatusDeployed || !out.RolledBack || out.Revision != revision || out.RolledBackFrom != from || out.RolledBackTo != to {
		s.t.Errorf("%+v, want revision %d to go back from %d to %d", out, revision, from, to)
	}
	return out
}

func (s *site) wantUnchanged(out Outcome, reason Reason, says string) {
	s.t.Helper()
	if out.Status != StatusUnchanged || out.Failure == nil || out.Failure.Reason != reason || !strings.Contains(out.Failure.Sentence, says) {
		s.t.Errorf("%+v, %+v, want it refused with %q", out, out.Failure, says)
	}
}

func TestEngineRollback(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.wantUnchanged(s.rollBack(s.rollback(ownerOfRun("0"), 0)), ReasonNoRevision, "There is no release shop")
	if _, err := s.cluster.client.CoreV1().Namespaces().Get(t.Context(), s.namespace, getOptions); !apierrors.IsNotFound(err) {
		t.Errorf("a rollback made a namespace: %v", err)
	}
	stray := "{apiVersion: v1, kind: ConfigMap, metadata: {name: stray}}"
	s.deploy(ownerOfRun("1"), m{"greeting": "one", "migrate": ""})
	s.wantUnchanged(s.rollBack(s.rollback(ownerOfRun("b"), 0)), ReasonNoRevision, "There is no other that ran.")
	s.deploy(ownerOfRun("2"), m{"greeting": "two", "migrate": ""})
	s.deploy(ownerOfRun("3"), m{"greeting": "three", "migrate": "", "extra": stray})

	out := s.wentBack(s.rollback(ownerOfRun("b1"), 0), 4, 3, 2)
	if len(out.Images) != 1 || !strings.HasPrefix(out.Images[0].Digest, "sha256:") || out.Adopted {
		t.Errorf("%+v", out)
	}
	s.wantGreeting("two")
	s.wantStatuses("superseded superseded superseded deployed")
	s.wantLog("back from revision 3 to 2", "revision 4 is deployed and ready")
	if _, err := s.cluster.client.CoreV1().ConfigMaps(s.namespace).Get(t.Context(), "stray", getOptions); !apierrors.IsNotFound(err) {
		t.Errorf("what only revision 3 had is left: %v", err)
	}
	said, err := exec.CommandContext(t.Context(), s.engines.Helm, "history", "shop", "-n", s.namespace, "--kubeconfig", s.engines.Kubeconfig).Output()
	if err != nil || !strings.Contains(string(said), "Rollback to 2") {
		t.Errorf("helm history: %v\n%s", err, said)
	}

	// The same work again, also once others went on.
	if out := s.wentBack(s.rollback(ownerOfRun("b1"), 0), 4, 3, 2); !out.Adopted || len(out.Images) != 1 {
		t.Errorf("%+v", out)
	}
	s.wentBack(s.rollback(ownerOfRun("b2"), 0), 5, 4, 1)
	s.wantGreeting("one")
	if out := s.wentBack(s.rollback(ownerOfRun("b1"), 0), 4, 3, 2); !out.Adopted || !out.Overtaken {
		t.Errorf("%+v", out)
	}
	s.wantGreeting("one")

	s.wantUnchanged(s.rollBack(s.rollback(ownerOfRun("b3"), 0)), ReasonNoRevision, "Revisions 4, 3, 2 and 1 can be named instead.")
	s.wantUnchanged(s.rollBack(s.rollback(ownerOfRun("b3"), 9)), ReasonNoRevision, "has no revision 9")
	s.wantUnchanged(s.rollBack(s.rollback(ownerOfRun("b3"), 5)), ReasonNoRevision, "is what runs already")
	other := ownerOfRun("b3")
	other.Repository, other.RepositoryID = "acme/other", 8
	s.wantUnchanged(s.rollBack(s.rollback(other, 0)), ReasonForeignRelease, "belongs to repository acme_shop (ID 7)")

	s.wentBack(s.rollback(ownerOfRun("b3"), 3), 6, 5, 3)
	s.wantGreeting("three")
	// A rollout goes on as ever, and Helm by hand too.
	if out := s.deploy(ownerOfRun("4"), m{"greeting": "four", "migrate": ""}); out.Revision != 7 || out.Adopted {
		t.Errorf("%+v", out)
	}
	if said, err := exec.CommandContext(t.Context(), s.engines.Helm, "rollback", "shop", "3", "-n", s.namespace, "--kubeconfig", s.engines.Kubeconfig, "--wait").CombinedOutput(); err != nil {
		t.Fatalf("helm rollback: %v\n%s", err, said)
	}
	s.wentBack(s.rollback(ownerOfRun("b4"), 0), 9, 8, 2)
	s.wantGreeting("two")
}

// Whatever moment a rollback dies at, called again it leaves one new revision.
func TestEngineKilledGoingBack(t *testing.T) {
	engines := enginetest.Start(t, options)
	hook := `{apiVersion: batch/v1, kind: Job, metadata: {name: undo, annotations: {helm.sh/hook: pre-rollback}}, spec: {backoffLimit: 0, template: {spec: {` +
		`restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: undo, image: "alpine:latest", command: [sh, -c, "echo undoing; sleep 3"]}]}}}}`
	for _, tc := range []struct {
		name  string
		set   m // of the revision to go back to
		at    string
		adopt bool
	}{
		{"in its hook", m{"extra": hook}, "[undo] undoing", false},
		{"before it is ready", m{"run": "sleep 4; touch /tmp/ready; exec sleep 3600"}, "Deployment shop: ", false},
		{"done", nil, "is deployed and ready", true},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "-"), func(t *testing.T) {
			s := newSite(t, engines)
			set := m{"greeting": "one", "migrate": ""}
			for k, v := range tc.set {
				set[k] = v
			}
			stray := "{apiVersion: v1, kind: ConfigMap, metadata: {name: stray}}"
			s.deploy(ownerOfRun("1"), set)
			s.deploy(ownerOfRun("2"), m{"greeting": "two", "migrate": "", "extra": stray})
			zero := 0
			s.killedAt(childWork{Owner: ownerOfRun("b"), Timeout: time.Minute, Back: &zero}, tc.at)
			out := s.wentBack(s.rollback(ownerOfRun("b"), 0), 3, 2, 1)
			if out.Adopted != tc.adopt {
				t.Errorf("adopted: %v", out.Adopted)
			}
			s.wantStatuses("superseded superseded deployed")
			s.wantGreeting("one")
			if _, err := s.cluster.client.CoreV1().ConfigMaps(s.namespace).Get(t.Context(), "stray", getOptions); !apierrors.IsNotFound(err) {
				t.Errorf("what only revision 2 had is left: %v", err)
			}
		})
	}
}

func TestEngineCancelledRollbackIsDoneAgain(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "one", "migrate": "", "run": "sleep 4; touch /tmp/ready; exec sleep 3600"})
	s.deploy(ownerOfRun("2"), m{"greeting": "two", "migrate": ""})
	shutdown := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	log := &waitingLog{testWriter: newTestWriter(t), until: "Deployment shop: ", then: func() { cancel(shutdown) }}
	if out, err := s.cluster.Rollback(ctx, s.rollback(ownerOfRun("b"), 0), log); !errors.Is(err, shutdown) {
		t.Fatalf("%+v, %v", out, err)
	}
	s.wantStatuses("superseded deployed failed")
	s.wentBack(s.rollback(ownerOfRun("b"), 0), 3, 2, 1)
	s.wantStatuses("superseded superseded deployed")
	s.wantGreeting("one")
}

// With the history full, the oldest revision is dropped when a rollback to it begins. Dying there loses nothing.
func TestEngineKilledGoingBackToTheOldest(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	for n := range maxHistory {
		set := m{"greeting": fmt.Sprint("v", n+1), "migrate": ""}
		if n == 0 {
			set["run"] = "sleep 4; touch /tmp/ready; exec sleep 3600"
		}
		s.deploy(ownerOfRun(fmt.Sprint(n+1)), set)
	}
	one := 1
	s.killedAt(childWork{Owner: ownerOfRun("b"), Timeout: time.Minute, Back: &one}, "Deployment shop: ")
	s.wentBack(s.rollback(ownerOfRun("b"), 1), 12, 10, 1)
	s.wantGreeting("v1")
	if got := s.statuses(); strings.Count(got, " deployed") != 1 || !strings.HasSuffix(got, "superseded failed deployed") {
		t.Errorf("revisions are %q", got)
	}
}

// A rollout that another run began and left is cleared away before the rollback.
func TestEngineRollbackAfterAnInterruptedRollout(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	shortLease(s.cluster)
	stray := "{apiVersion: v1, kind: ConfigMap, metadata: {name: stray}}"
	s.deploy(ownerOfRun("1"), m{"greeting": "one", "migrate": ""})
	s.deploy(ownerOfRun("2"), m{"greeting": "two", "migrate": ""})
	s.killed(ownerOfRun("3"), m{"greeting": "three", "migrate": "", "extra": stray, "run": "exec sleep 3600"}, time.Minute, "Deployment shop: ")
	var out Outcome
	for {
		var err error
		out, err = s.cluster.Rollback(t.Context(), s.rollback(ownerOfRun("b"), 1), newTestWriter(t))
		held, waits := find[*LeaseHeldError](err)
		if !waits {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		select {
		case <-time.After(time.Until(held.Until)):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	if out.Failure != nil || out.RolledBackFrom != 3 || out.RolledBackTo != 1 || out.Revision != 5 {
		t.Errorf("%+v", out)
	}
	s.wantGreeting("one")
	s.wantStatuses("superseded superseded failed superseded deployed")
	if _, err := s.cluster.client.CoreV1().ConfigMaps(s.namespace).Get(t.Context(), "stray", getOptions); !apierrors.IsNotFound(err) {
		t.Errorf("what the interrupted revision brought is left: %v", err)
	}
}

func TestEngineRollbackNotReady(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "one", "migrate": "", "lookup": m{}})
	crash := m{"greeting": "two", "migrate": "", "run": "test ! -e /tmp/never; touch /tmp/ready; exec sleep 3600"}
	s.deploy(ownerOfRun("2"), crash)
	s.deploy(ownerOfRun("3"), m{"greeting": "three", "migrate": ""})
	// Revision 2 ran; what it needs is not there any more.
	s.breakRevision(2, "test ! -e /tmp/never", "echo the table is gone; exit 4")
	back := s.rollback(ownerOfRun("b"), 0)
	back.Timeout = 25 * time.Second
	out := s.rollBack(back)
	wantFailure(t, out, "Deployment "+s.namespace+"/shop", "CrashLoopBackOff", `container "app"`, "exit code 4", "The release was left at revision 4, which goes back to revision 2.")
	if !slices.Equal(out.Failure.LogTail, []string{"the table is gone"}) {
		t.Errorf("quoted %q", out.Failure.LogTail)
	}
	if out.Status != StatusFailed || out.RolledBack || out.Revision != 4 || out.RolledBackTo != 2 {
		t.Errorf("%+v", out)
	}
	s.wantStatuses("superseded superseded deployed failed")
	s.wantGreeting("two")
	// The way is free, back and forward.
	s.wentBack(s.rollback(ownerOfRun("b2"), 3), 5, 4, 3)
	s.wantGreeting("three")
}

// A hook that fails leaves no pending revision behind.
func TestEngineRollbackHookFails(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	hook := `{apiVersion: batch/v1, kind: Job, metadata: {name: undo, annotations: {helm.sh/hook: pre-rollback}}, spec: {backoffLimit: 0, template: {spec: {` +
		`restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: undo, image: "alpine:latest", command: [sh, -c, "echo can not undo; exit 7"]}]}}}}`
	s.deploy(ownerOfRun("1"), m{"greeting": "one", "migrate": "", "extra": hook})
	s.deploy(ownerOfRun("2"), m{"greeting": "two", "migrate": ""})
	out := s.rollBack(s.rollback(ownerOfRun("b"), 0))
	wantFailure(t, out, "Job "+s.namespace+"/undo", ReasonHookFailed, "The hook Job", "exit code 7")
	s.wantLog("[undo] can not undo")
	s.wantGreeting("two")
	s.wantStatuses("superseded deployed failed")
	if said := s.history()[2].Info.Description; !strings.HasPrefix(said, `Rollback "shop" failed: `) {
		t.Errorf("described as %q", said)
	}
	if out := s.deploy(ownerOfRun("3"), m{"greeting": "three", "migrate": ""}); out.Revision != 4 {
		t.Errorf("%+v", out)
	}
}

// What an operator once let a release have is not put back by a job that may not have it.
func TestEngineRollbackStaysInItsNamespace(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	rel := s.release(ownerOfRun("1"), m{"migrate": "", "extra": "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: " + s.namespace + "}}"})
	rel.AllowClusterScoped = true
	for _, rel := range []Release{rel, func() Release { r := rel; r.Owner, r.Set = ownerOfRun("2"), m{"migrate": ""}; return r }()} {
		if out := s.rollout(rel); out.Failure != nil {
			t.Fatalf("%+v", out.Failure)
		}
	}
	s.wantUnchanged(s.rollBack(s.rollback(ownerOfRun("b"), 0)), ReasonOutsideNamespace, "ClusterRole "+s.namespace)
	s.wantStatuses("superseded deployed")
	back := s.rollback(ownerOfRun("b"), 0)
	back.AllowClusterScoped = true
	s.wentBack(back, 3, 2, 1)
	rel.Owner, rel.Set = ownerOfRun("3"), m{"migrate": ""} // which removes it again
	if out := s.rollout(rel); out.Failure != nil {
		t.Errorf("%+v", out.Failure)
	}
}

// breakRevision changes what a revision's record says, as if its world had changed.
func (s *site) breakRevision(revision int, from, to string) {
	s.t.Helper()
	records := newRecords(s.cluster.client, s.namespace, Owner{}, demoted{testLog(s.t).Handler()})
	rel := s.history()[revision-1]
	if !strings.Contains(rel.Manifest, from) {
		s.t.Fatalf("revision %d does not say %q", revision, from)
	}
	rel.Manifest = strings.ReplaceAll(rel.Manifest, from, to)
	if err := records.Driver.Update(fmt.Sprint("sh.helm.release.v1.shop.v", revision), rel); err != nil {
		s.t.Fatal(err)
	}
}
