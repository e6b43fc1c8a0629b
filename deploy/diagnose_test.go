package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func testPod(name, owner string, change func(*corev1.Pod)) *corev1.Pod {
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "tks", UID: types.UID(name), Labels: map[string]string{"pod-template-hash": "abc"},
	}}
	if kind, owned, ok := strings.Cut(owner, "/"); ok {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: owned, Controller: &yes}}
	}
	pod.Status.Phase = corev1.PodRunning
	if change != nil {
		change(pod)
	}
	return pod
}

func container(s corev1.ContainerStatus) func(*corev1.Pod) {
	s.Name = "app"
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{s} }
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func ended(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

func TestPodProblem(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for _, tc := range []struct {
		name     string
		change   func(*corev1.Pod)
		reason   Reason
		says     string
		previous bool
	}{
		{"ready", container(corev1.ContainerStatus{State: running, Ready: true}), "", "", false},
		{"crash loop", container(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", "back-off"), LastTerminationState: ended(3, "Error"), RestartCount: 2}),
			"CrashLoopBackOff", `container "app" of pod p keeps crashing (exit code 3, 2 restarts)`, true},
		{"out of memory", container(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(137, "OOMKilled"), RestartCount: 1}),
			"OOMKilled", "killed for using more memory than its limit, 1 restart)", true},
		{"exited", container(corev1.ContainerStatus{State: ended(1, "Error")}), ReasonExited, "ended with an error (exit code 1)", false},
		{"exited well", container(corev1.ContainerStatus{State: ended(0, "Completed"), Ready: true}), "", "", false},
		{"restarted", container(corev1.ContainerStatus{State: running, LastTerminationState: ended(2, "Error"), RestartCount: 1}), "CrashLoopBackOff", "keeps crashing (exit code 2, 1 restart)", true},
		{"ended again", container(corev1.ContainerStatus{State: ended(2, "Error"), RestartCount: 3}), "CrashLoopBackOff", "keeps crashing (exit code 2, 3 restarts)", false},
		{"ended out of memory", container(corev1.ContainerStatus{State: ended(137, "OOMKilled")}), "OOMKilled", "killed for using more memory than its limit", false},
		{"image", container(corev1.ContainerStatus{Image: "r/x:1", State: waiting("ImagePullBackOff", "Back-off pulling: not found")}),
			"ImagePullBackOff", "can't get its image r/x:1: Back-off pulling: not found", false},
		{"config", container(corev1.ContainerStatus{State: waiting("CreateContainerConfigError", `secret "db" not found`)}),
			"CreateContainerConfigError", `can't be started: secret "db" not found`, false},
		{"unhealthy", container(corev1.ContainerStatus{State: running}), ReasonUnhealthy, "runs but is not ready", false},
		{"being created", func(p *corev1.Pod) {
			container(corev1.ContainerStatus{State: waiting("ContainerCreating", "")})(p)
			p.Status.Phase = corev1.PodPending
		}, ReasonNotReady, "has not started yet", false},
		{"unschedulable", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient memory."}}
		}, ReasonUnschedulable, "no node takes pod p: 0/1 nodes are available", false},
		{"evicted", func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", "The node was low on memory."
		}, "Evicted", "was ended by the node (The node was low on memory.)", false},
		{"init container", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "migrate", State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(9, "Error"), RestartCount: 5}}
			container(corev1.ContainerStatus{State: waiting("PodInitializing", "")})(p)
		}, "CrashLoopBackOff", `container "migrate" of pod p keeps crashing (exit code 9, 5 restarts)`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := podProblem(testPod("p", "", tc.change))
			if p.reason != tc.reason || !strings.Contains(p.text, tc.says) || p.previous != tc.previous {
				t.Errorf("got %+v", p)
			}
		})
	}
}

func TestPodOwner(t *testing.T) {
	for owner, want := range map[string]objectRef{
		"ReplicaSet/shop-abc": {"Deployment", "shop"},
		"ReplicaSet/bare":     {"ReplicaSet", "bare"},
		"StatefulSet/db":      {"StatefulSet", "db"},
		"Job/migrate":         {"Job", "migrate"},
		"":                    {"Pod", "p"},
	} {
		if got := podOwner(testPod("p", owner, nil)); got != want {
			t.Errorf("%s: %v, want %v", owner, got, want)
		}
	}
}

func testWatcher(t *testing.T, objects ...objectRef) *watcher {
	w := newWatcher(nil, "tks", &lineLog{w: newTestWriter(t)}, defaultTiming())
	for _, ref := range objects {
		w.objects[ref] = false
	}
	return w
}

var shop = objectRef{"Deployment", "shop"}

func anyObject(objectRef, bool) bool { return true }

func TestWorst(t *testing.T) {
	crash := container(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(1, "Error"), RestartCount: 1})
	w := testWatcher(t, shop, objectRef{"StatefulSet", "db"})
	w.podSeen(testPod("old", "ReplicaSet/shop-abc", crash), true)
	w.podSeen(testPod("stranger", "ReplicaSet/other-abc", crash), false)
	if f := w.worst(anyObject); f.state == nil || f.state.pod.Name != "old" {
		t.Errorf("without new pods the old one is to blame, got %+v", f)
	}
	w.podSeen(testPod("new", "ReplicaSet/shop-abc", container(corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})), false)
	if f := w.worst(anyObject); f.state == nil || f.state.pod.Name != "new" || f.problem.reason != ReasonUnhealthy {
		t.Errorf("the old revision's pod was blamed: %+v", f)
	}
	w.eventSeen(&corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "new", UID: "new"}, Reason: "Unhealthy", Message: "Readiness probe failed: 503"}, false)
	if f := w.worst(anyObject); !strings.Contains(f.problem.text, "Readiness probe failed: 503") {
		t.Errorf("the probe's words are missing: %+v", f.problem)
	}
	w.podSeen(testPod("db-0", "StatefulSet/db", crash), false)
	if f := w.worst(anyObject); f.ref.name != "db" {
		t.Errorf("the crash is worse: %+v", f)
	}
}

// Of very many warnings, the newest are kept.
func TestNewestWarningsAreKept(t *testing.T) {
	w := testWatcher(t, shop)
	about := corev1.ObjectReference{Kind: "Deployment", Name: "shop"}
	for n := range 2 * maxEventsKept {
		w.eventSeen(&corev1.Event{InvolvedObject: about, Reason: "FailedCreate", Message: fmt.Sprint("try ", n+1)}, false)
	}
	if f := w.worst(anyObject); f.problem.text != fmt.Sprint("FailedCreate: try ", 2*maxEventsKept) || len(w.events) != maxEventsKept {
		t.Errorf("%q of %d warnings", f.problem.text, len(w.events))
	}
}

func TestWorstWithoutPods(t *testing.T) {
	w := testWatcher(t, shop)
	about := corev1.ObjectReference{Kind: "ReplicaSet", Name: "shop-abc"}
	w.eventSeen(&corev1.Event{InvolvedObject: about, Reason: "FailedCreate", Message: "from before"}, true)
	if f := w.worst(anyObject); f.problem.weight != 0 {
		t.Errorf("a warning from before the rollout counts: %+v", f)
	}
	w.eventSeen(&corev1.Event{InvolvedObject: about, Reason: "FailedCreate", Message: "exceeded quota: pods=0"}, false)
	if f := w.worst(anyObject); f.ref != shop || !strings.Contains(f.problem.text, "exceeded quota") {
		t.Errorf("got %+v", f)
	}
}

func TestGivesUpInVain(t *testing.T) {
	crashing := func(n int32) func(*corev1.Pod) {
		return container(corev1.ContainerStatus{State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(1, ""), RestartCount: n})
	}
	missing := container(corev1.ContainerStatus{State: waiting("ImagePullBackOff", "x: not found")})
	for _, tc := range []struct {
		name string
		seen func(*watcher)
		want bool
	}{
		{"a few crashes", func(w *watcher) { w.podSeen(testPod("p", "ReplicaSet/shop-abc", crashing(crashLoopRestart-1)), false) }, false},
		{"many crashes", func(w *watcher) { w.podSeen(testPod("p", "ReplicaSet/shop-abc", crashing(crashLoopRestart)), false) }, true},
		{"many crashes of a pod from before", func(w *watcher) { w.podSeen(testPod("p", "ReplicaSet/shop-abc", crashing(99)), true) }, false},
		{"many crashes of a stranger", func(w *watcher) { w.podSeen(testPod("p", "ReplicaSet/other-abc", crashing(99)), false) }, false},
		{"bad image name", func(w *watcher) {
			w.podSeen(testPod("p", "ReplicaSet/shop-abc", container(corev1.ContainerStatus{State: waiting("InvalidImageName", "")})), false)
		}, true},
		{"image just missing", func(w *watcher) { w.podSeen(testPod("p", "ReplicaSet/shop-abc", missing), false) }, false},
		{"image long missing", func(w *watcher) {
			w.podSeen(testPod("p", "ReplicaSet/shop-abc", missing), false)
			w.pods["p"].missing = time.Now().Add(-imageMissing)
			w.podSeen(testPod("p", "ReplicaSet/shop-abc", missing), false)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := testWatcher(t, shop)
			gaveUp := false
			w.setGiveUp(func() { gaveUp = true })
			tc.seen(w)
			if gaveUp != tc.want {
				t.Errorf("gave up: %v", gaveUp)
			}
		})
	}
}

func TestRunningImages(t *testing.T) {
	spec := func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Name: "app", Image: "r/shop@sha256:aa"}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Image: "sha256:ff", ImageID: "r/shop@sha256:aa"}}
	}
	now := metav1.Now()
	pods := []corev1.Pod{
		*testPod("a", "ReplicaSet/shop-abc", spec),
		*testPod("b", "ReplicaSet/shop-abc", spec),
		*testPod("going", "ReplicaSet/shop-abc", func(p *corev1.Pod) { spec(p); p.Spec.Containers[0].Image = "old"; p.DeletionTimestamp = &now }),
		*testPod("done", "ReplicaSet/shop-abc", func(p *corev1.Pod) { spec(p); p.Status.Phase = corev1.PodSucceeded }),
		*testPod("stranger", "ReplicaSet/other-abc", spec),
	}
	got := runningImages(pods, "tks", func(ref objectRef) bool { return ref == shop })
	want := RunningImage{Object: "Deployment tks/shop", Container: "app", Image: "r/shop@sha256:aa", Digest: "sha256:aa"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
