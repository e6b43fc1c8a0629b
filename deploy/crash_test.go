//go:build engines

package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/enginetest"
)

// childVariable makes the test program one rollout or rollback and nothing else: a server that can be killed.
const childVariable = "SLIPWAY_DEPLOY_CHILD"

// childWork is what the child rolls out, or the revision it goes back to.
type childWork struct {
	Kubeconfig, Namespace string
	Owner                 Owner
	Set                   m
	Timeout               time.Duration
	Back                  *int
}

func TestMain(tests *testing.M) {
	work := os.Getenv(childVariable)
	if work == "" {
		os.Exit(tests.Run())
	}
	if err := child(work); err != nil {
		fmt.Println("child:", err)
		os.Exit(1)
	}
}

func child(work string) error {
	var w childWork
	if err := json.Unmarshal([]byte(work), &w); err != nil {
		return err
	}
	c, err := OpenCluster(ClusterConfig{Name: "test", KubeconfigFile: w.Kubeconfig}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	shortLease(c)
	source, err := os.OpenRoot("testdata")
	if err != nil {
		return err
	}
	if w.Back != nil {
		_, err = c.Rollback(context.Background(), Rollback{
			Namespace: w.Namespace, Name: "shop", Revision: *w.Back, Owner: w.Owner, Timeout: w.Timeout,
		}, os.Stdout)
	} else {
		_, err = c.Rollout(context.Background(), Release{
			Namespace: w.Namespace, Name: "shop", Source: source, Chart: "shop", Set: w.Set, Owner: w.Owner, Timeout: w.Timeout,
		}, os.Stdout)
	}
	// What the server would do next never happens: it is killed before, or hangs here until it is.
	if err == nil {
		select {}
	}
	return err
}

func shortLease(c *Cluster) {
	c.timing.lease, c.timing.margin, c.timing.renewEvery, c.timing.retryEvery = 10*time.Second, 2*time.Second, time.Second, 200*time.Millisecond
}

// killed runs a rollout in a process of its own and kills that when its log says at.
func (s *site) killed(owner Owner, set m, timeout time.Duration, at string) {
	s.t.Helper()
	s.killedAt(childWork{Owner: owner, Set: set, Timeout: timeout}, at)
}

func (s *site) killedAt(w childWork, at string) {
	s.t.Helper()
	w.Kubeconfig, w.Namespace = s.engines.Kubeconfig, s.namespace
	work, err := json.Marshal(w)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(work))
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	seen := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.t.Log("child: " + lines.Text())
		if !seen && strings.Contains(lines.Text(), at) {
			seen = true
			if err := cmd.Process.Kill(); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if !seen {
		s.t.Fatalf("the child never said %q", at)
	}
}

func TestEngineKilledInTheMiddle(t *testing.T) {
	engines := enginetest.Start(t, options)
	const slowHook = "echo slow hook; sleep 3; echo hook done"
	const slowStart = "sleep 4; touch /tmp/ready; exec sleep 3600"
	for _, tc := range []struct {
		name  string
		first bool // the installation itself is killed
		set   m
		at    string
		want  string // statuses after the same work came again
		adopt bool
	}{
		{"installation in its hook", true, m{"migrate": slowHook}, "slow hook", "failed deployed", false},
		{"installation before it is ready", true, m{"run": slowStart}, "Deployment shop: ", "failed deployed", false},
		{"installation done", true, nil, "is deployed and ready", "deployed", true},
		{"upgrade in its hook", false, m{"migrate": slowHook}, "slow hook", "superseded failed deployed", false},
		{"upgrade before it is ready", false, m{"run": slowStart}, "Deployment shop: ", "superseded failed deployed", false},
		{"upgrade done", false, nil, "is deployed and ready", "superseded deployed", true},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "-"), func(t *testing.T) {
			s := newSite(t, engines)
			if !tc.first {
				s.deploy(ownerOfRun("1"), m{"greeting": "one"})
			}
			set := m{"greeting": "two"}
			for k, v := range tc.set {
				set[k] = v
			}
			s.killed(ownerOfRun("2"), set, time.Minute, tc.at)
			out := s.deploy(ownerOfRun("2"), set)
			if out.Adopted != tc.adopt {
				t.Errorf("adopted: %v", out.Adopted)
			}
			s.wantStatuses(tc.want)
			s.wantGreeting("two")
		})
	}
}

func TestEngineKilledWhileRollingBack(t *testing.T) {
	s := newSite(t, enginetest.Start(t, options))
	s.deploy(ownerOfRun("1"), m{"greeting": "good", "migrate": ""})
	bad := m{"greeting": "bad", "migrate": "", "run": "echo broken; exit 1"}
	s.killed(ownerOfRun("2"), bad, 8*time.Second, "rolling back to revision 1")
	rel := s.release(ownerOfRun("2"), bad)
	rel.Timeout = 8 * time.Second
	out := s.rollout(rel)
	wantFailure(t, out, "Deployment "+s.namespace+"/shop", "CrashLoopBackOff", "Rolled back to revision")
	s.wantGreeting("good")
	deployed := strings.Count(s.statuses(), "deployed")
	if failed := strings.Count(s.statuses(), "failed"); deployed != 1 || failed > 3 {
		t.Errorf("revisions are %q", s.statuses())
	}
}

// A run that died leaves its lease; the next run waits for it to run out, and clears up.
func TestEngineKilledAndTakenOverByAnotherRun(t *testing.T) {
	engines := enginetest.Start(t, options)
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("first-%v", first), func(t *testing.T) {
			s := newSite(t, engines)
			if !first {
				s.deploy(ownerOfRun("1"), m{"greeting": "one"})
			}
			stray := "{apiVersion: v1, kind: ConfigMap, metadata: {name: stray}}"
			s.killed(ownerOfRun("2"), m{"greeting": "two", "extra": stray, "run": "exec sleep 3600"}, time.Minute, "Deployment shop: ")
			rel := s.release(ownerOfRun("3"), m{"greeting": "three"})
			_, err := s.cluster.Rollout(t.Context(), rel, newTestWriter(t))
			var held *LeaseHeldError
			if !errors.As(err, &held) || held.Holder != "acme/shop (7) run 2 job release" {
				t.Fatalf("got %v, want the lease to be held by run 2", err)
			}
			select {
			case <-time.After(time.Until(held.Until)):
			case <-t.Context().Done():
			}
			out := s.rollout(rel)
			if out.Failure != nil {
				t.Fatalf("%+v", out.Failure)
			}
			s.wantGreeting("three")
			if n := strings.Count(s.statuses(), "deployed"); n != 1 {
				t.Errorf("revisions are %q", s.statuses())
			}
			if _, err := s.cluster.client.CoreV1().ConfigMaps(s.namespace).Get(t.Context(), "stray", getOptions); err == nil {
				t.Error("an object of the interrupted revision was left behind")
			}
		})
	}
}

func TestEngineAPIServerKilledInMidRollout(t *testing.T) {
	engines := enginetest.StartOwn(t, options)
	slow := m{"greeting": "two", "migrate": "", "run": "sleep 8; touch /tmp/ready; exec sleep 3600"}

	t.Run("back at once", func(t *testing.T) {
		s := newSite(t, engines)
		s.deploy(ownerOfRun("1"), m{"migrate": ""})
		revived := make(chan error, 1)
		log := &waitingLog{testWriter: newTestWriter(t), until: "Deployment shop: ", then: func() {
			go func() {
				err := engines.Kill(t.Context(), "kube-apiserver")
				revived <- errors.Join(err, engines.Revive(t.Context(), "kube-apiserver"))
			}()
		}}
		out, err := s.cluster.Rollout(t.Context(), s.release(ownerOfRun("2"), slow), log)
		if again := <-revived; again != nil {
			t.Fatal(again)
		}
		if err != nil || out.Failure != nil {
			t.Fatalf("%+v, %v", out, err)
		}
		s.wantStatuses("superseded deployed")
		s.wantGreeting("two")
	})

	t.Run("away longer than the lease", func(t *testing.T) {
		s := newSite(t, engines)
		shortLease(s.cluster)
		s.deploy(ownerOfRun("1"), m{"migrate": ""})
		log := &waitingLog{testWriter: newTestWriter(t), until: "Deployment shop: ", then: func() {
			go func() {
				if err := engines.Kill(context.WithoutCancel(t.Context()), "kube-apiserver"); err != nil {
					t.Error(err)
				}
			}()
		}}
		rel := s.release(ownerOfRun("2"), slow)
		out, err := s.cluster.Rollout(t.Context(), rel, log)
		if !errors.Is(err, ErrLeaseLost) {
			t.Errorf("while the API server was away: %+v, %v", out, err)
		}
		if err := engines.Revive(t.Context(), "kube-apiserver"); err != nil {
			t.Fatal(err)
		}
		if out := s.rollout(rel); out.Failure != nil {
			t.Fatalf("%+v", out.Failure)
		}
		s.wantStatuses("superseded failed deployed")
		s.wantGreeting("two")
	})
}
