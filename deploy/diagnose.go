package deploy

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	release "helm.sh/helm/v4/pkg/release/v1"
	corev1 "k8s.io/api/core/v1"
)

// problem is what is wrong with one pod or object, and how much that explains.
type problem struct {
	weight    int // the heaviest problem is reported
	reason    Reason
	text      string // follows "…: "
	container string
	previous  bool // the container's lines are those of its run before
}

// podProblem reads a pod's state. A pod without a problem has weight 0.
func podProblem(pod *corev1.Pod) problem {
	var worst problem
	consider := func(p problem) {
		if p.weight > worst.weight {
			worst = p
		}
	}
	if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "" {
		consider(problem{weight: 92, reason: Reason(pod.Status.Reason),
			text: fmt.Sprintf("pod %s was ended by the node (%s)", pod.Name, clip(pod.Status.Message, maxCause))})
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			consider(problem{weight: 88, reason: ReasonUnschedulable,
				text: fmt.Sprintf("no node takes pod %s: %s", pod.Name, clip(c.Message, maxCause))})
		}
	}
	for _, c := range containerStatuses(pod) {
		consider(containerProblem(pod.Name, c))
	}
	if worst.weight == 0 && pod.Status.Phase == corev1.PodPending {
		return problem{weight: 10, reason: ReasonNotReady, text: fmt.Sprintf("pod %s has not started yet", pod.Name)}
	}
	return worst
}

func containerProblem(pod string, c corev1.ContainerStatus) problem {
	where := fmt.Sprintf("container %q of pod %s", c.Name, pod)
	p := problem{container: c.Name}
	last := c.LastTerminationState.Terminated
	waiting, ended := c.State.Waiting, c.State.Terminated
	switch {
	case waiting != nil && waiting.Reason == "CrashLoopBackOff":
		p = crashLoop(p, where, c, last)
		p.previous = true
	case waiting != nil && strings.Contains(waiting.Reason, "Image"): // ErrImagePull, ImagePullBackOff, InvalidImageName, …
		p.weight, p.reason = 90, Reason(waiting.Reason)
		p.text = fmt.Sprintf("%s can't get its image %s: %s", where, c.Image, clip(cmp.Or(waiting.Message, waiting.Reason), maxCause))
	case waiting != nil && strings.HasSuffix(waiting.Reason, "Error"): // CreateContainerConfigError, RunContainerError, …
		p.weight, p.reason = 85, Reason(waiting.Reason)
		p.text = fmt.Sprintf("%s can't be started: %s", where, clip(cmp.Or(waiting.Message, waiting.Reason), maxCause))
	case ended != nil && ended.ExitCode != 0 && c.RestartCount > 0:
		p = crashLoop(p, where, c, ended)
	case ended != nil && ended.ExitCode != 0:
		p.weight, p.reason = 95, ReasonExited
		p.text = fmt.Sprintf("%s ended with an error (%s)", where, endedHow(ended))
	case c.State.Running != nil && !c.Ready && c.RestartCount > 0 && last != nil:
		p = crashLoop(p, where, c, last)
		p.previous = true
	case c.State.Running != nil && !c.Ready:
		p.weight, p.reason = 40, ReasonUnhealthy
		p.text = where + " runs but is not ready"
	}
	if p.weight > 90 && (ended != nil && ended.Reason == "OOMKilled" || ended == nil && last != nil && last.Reason == "OOMKilled") {
		p.reason = "OOMKilled"
	}
	return p
}

// crashLoop is one problem in three states: a crashing container waits, runs and ends in turn.
func crashLoop(p problem, where string, c corev1.ContainerStatus, how *corev1.ContainerStateTerminated) problem {
	p.weight, p.reason = 100, "CrashLoopBackOff"
	p.text = fmt.Sprintf("%s keeps crashing (%s, %s)", where, endedHow(how), plural(int(c.RestartCount), "restart"))
	return p
}

func endedHow(t *corev1.ContainerStateTerminated) string {
	switch {
	case t == nil:
		return "how it ended is not known"
	case t.Reason == "OOMKilled":
		return "killed for using more memory than its limit"
	case t.Signal != 0:
		return fmt.Sprintf("signal %d", t.Signal)
	default:
		return fmt.Sprintf("exit code %d", t.ExitCode)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// findings is the worst of what a watcher saw of the given objects.
type findings struct {
	ref     objectRef
	problem problem
	state   *podState // nil when no pod is to blame
}

// worst looks for the problem that explains best why objects are not ready.
func (w *watcher) worst(of func(ref objectRef, hook bool) bool) findings {
	w.mu.Lock()
	defer w.mu.Unlock()
	var worst findings
	anyNew := map[objectRef]bool{}
	for _, state := range w.pods {
		if !state.old {
			anyNew[state.ref] = true
		}
	}
	for _, state := range w.pods {
		hook, known := w.objects[state.ref]
		// Pods of the revision before only matter when the new one has none.
		if !known || !of(state.ref, hook) || state.old && (hook || anyNew[state.ref]) {
			continue
		}
		p := podProblem(state.pod)
		if p.weight == 40 {
			if said := w.lastEvent(func(e *corev1.Event) bool {
				return e.InvolvedObject.UID == state.pod.UID && e.Reason == "Unhealthy"
			}); said != "" {
				p.weight, p.text = 80, p.text+": "+said
			}
		}
		if p.weight > worst.problem.weight ||
			p.weight == worst.problem.weight && worst.state != nil && state.pod.CreationTimestamp.After(worst.state.pod.CreationTimestamp.Time) {
			worst = findings{state.ref, p, state}
		}
	}
	if worst.problem.weight > 10 {
		return worst
	}
	// Objects that got no pod at all: a quota, an admission rule, a missing volume.
	for ref, hook := range w.objects {
		if !of(ref, hook) {
			continue
		}
		said := w.lastEvent(func(e *corev1.Event) bool {
			about := e.InvolvedObject
			return about.Name == ref.name && about.Kind == ref.kind ||
				ref.kind == "Deployment" && about.Kind == "ReplicaSet" && strings.HasPrefix(about.Name, ref.name+"-")
		})
		if said != "" && worst.problem.weight < 60 {
			worst = findings{ref: ref, problem: problem{weight: 60, reason: ReasonNotReady, text: said}}
		}
	}
	return worst
}

// lastEvent is the newest warning that matches. The caller holds the lock.
func (w *watcher) lastEvent(match func(*corev1.Event) bool) string {
	for _, e := range slices.Backward(w.events) {
		if match(e) {
			return clip(e.Reason+": "+e.Message, maxCause)
		}
	}
	return ""
}

// lastLines fetches the end of a container's log; for a hook it was kept as it ran, since
// the hook may be deleted by now.
func (w *watcher) lastLines(ctx context.Context, f findings) []string {
	if f.state == nil || f.problem.container == "" {
		return nil
	}
	w.mu.Lock()
	var kept []string
	if log := f.state.logs[f.problem.container]; log != nil {
		kept = slices.Clone(log.tail.lines)
	}
	pod := f.state.pod.Name
	w.mu.Unlock()
	if len(kept) > 0 {
		return kept
	}
	for _, previous := range []bool{f.problem.previous, !f.problem.previous} {
		lines, limit := int64(maxTailLines), int64(64<<10)
		stream, err := w.client.CoreV1().Pods(w.namespace).GetLogs(pod, &corev1.PodLogOptions{
			Container: f.problem.container, Previous: previous, TailLines: &lines, LimitBytes: &limit,
		}).Stream(ctx)
		if err != nil {
			continue // the container never ran, or the node doesn't answer
		}
		text, _ := io.ReadAll(io.LimitReader(stream, limit))
		_ = stream.Close()
		if tail := tailOf(string(text)); len(tail) > 0 {
			return tail
		}
	}
	return nil
}

// failedHook is the hook that a revision failed at, nil when it was none.
func failedHook(rel *release.Release) *release.Hook {
	for _, hook := range rel.Hooks {
		if hook.LastRun.Phase == release.HookPhaseFailed {
			return hook
		}
	}
	return nil
}

// diagnose words why the recorded revision rel failed with err.
func (r *rollout) diagnose(ctx context.Context, rel *release.Release, err error, took time.Duration) *Failure {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	namespace := r.release.Namespace
	hook := failedHook(rel)
	f := r.watch.worst(func(ref objectRef, isHook bool) bool {
		if hook != nil {
			return ref == objectRef{hook.Kind, hook.Name}
		}
		return !isHook
	})
	refused, wasRefused := apiStatus(err)
	if wasRefused {
		f = findings{} // what the pods do meanwhile has nothing to do with it
	}
	failure := &Failure{Reason: f.problem.reason, LogTail: r.watch.lastLines(ctx, f)}
	subject := "The release"
	verb := fmt.Sprintf("did not become ready within %s", took.Round(time.Second))
	if f.problem.weight > 0 {
		failure.Object = objectName(f.ref.kind, namespace, f.ref.name)
		subject = failure.Object
	}
	if hook != nil {
		failure.Object = objectName(hook.Kind, namespace, hook.Name)
		subject, verb = "The hook "+failure.Object, "failed"
		if failure.Reason == "" || failure.Reason == ReasonExited {
			failure.Reason = ReasonHookFailed
		}
	}
	said := f.problem.text
	switch {
	case wasRefused:
		failure.Reason = ReasonApplyRefused
		verb, said = "was refused by the API server", clip(refused.Message, maxCause)
	case said == "":
		// What Helm's wait says of each object, in its words.
		said = clip(err.Error(), maxCause)
		failure.Reason = cmp.Or(failure.Reason, ReasonNotReady)
	}
	failure.Sentence = fmt.Sprintf("%s %s: %s.", subject, verb, strings.TrimRight(said, ".: "))
	if len(failure.LogTail) > 0 {
		failure.Sentence += " Its last lines are quoted."
	}
	return failure
}
