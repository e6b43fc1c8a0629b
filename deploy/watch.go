package deploy

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

const (
	maxEventsKept    = 500 // the newest
	maxEventRepeats  = 3   // times one warning about one object is logged
	crashLoopRestart = 4   // restarts after which a crashing container is given up: about 75 s
	imageMissing     = 30 * time.Second
)

// objectRef names an object in the release's namespace.
type objectRef struct{ kind, name string }

// watcher follows the pods and warnings of one rollout: it logs hooks as they run, notes
// what goes wrong while it can still be seen, and gives up waiting when waiting is in vain.
type watcher struct {
	client    kubernetes.Interface
	namespace string
	log       *lineLog
	drainTime time.Duration
	giveUp    func()

	stop   context.CancelFunc
	done   sync.WaitGroup
	ctx    context.Context     // of the log streams: ends with stop
	listed []cache.DoneChecker // done when what was there at first is known

	mu      sync.Mutex
	objects map[objectRef]bool // value: is a hook
	started map[objectRef]bool // hooks applied by this rollout
	pods    map[types.UID]*podState
	events  []*corev1.Event
	repeats map[string]int
	changed chan struct{} // closed and replaced on every change
}

// podState is a pod as last seen, also after it is gone.
type podState struct {
	pod     *corev1.Pod
	ref     objectRef // what it belongs to
	old     bool      // was there before the rollout
	missing time.Time // when its image was first reported missing
	logs    map[string]*containerLog
}

type containerLog struct {
	open bool
	done bool
	tail tail
}

func newWatcher(client kubernetes.Interface, namespace string, log *lineLog, t timing) *watcher {
	return &watcher{
		client: client, namespace: namespace, log: log, drainTime: t.drain,
		giveUp:  func() {},
		objects: map[objectRef]bool{}, started: map[objectRef]bool{},
		pods: map[types.UID]*podState{}, repeats: map[string]int{},
		changed: make(chan struct{}),
	}
}

// start follows until close.
func (w *watcher) start(ctx context.Context) {
	w.ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	rest := w.client.CoreV1().RESTClient()
	pods := cache.NewSharedIndexInformer(
		cache.NewFilteredListWatchFromClient(rest, "pods", w.namespace, fromCache), &corev1.Pod{}, 0, nil)
	warnings := cache.NewSharedIndexInformer(
		cache.NewListWatchFromClient(rest, "events", w.namespace, fields.OneTermEqualSelector("type", corev1.EventTypeWarning)), &corev1.Event{}, 0, nil)
	for _, h := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{pods, cache.ResourceEventHandlerDetailedFuncs{
			AddFunc:    func(o any, initial bool) { w.podSeen(o, initial) },
			UpdateFunc: func(_, o any) { w.podSeen(o, false) },
			DeleteFunc: func(o any) { w.podSeen(o, false) },
		}},
		{warnings, cache.ResourceEventHandlerDetailedFuncs{
			AddFunc:    func(o any, initial bool) { w.eventSeen(o, initial) },
			UpdateFunc: func(_, o any) { w.eventSeen(o, false) },
		}},
	} {
		_ = h.informer.SetTransform(withoutManagedFields)
		registered, err := h.informer.AddEventHandler(h.handler)
		if err == nil {
			w.listed = append(w.listed, registered.HasSyncedChecker())
		}
		w.done.Go(func() { h.informer.RunWithContext(w.ctx) })
	}
}

// awaitLists waits a little for the first lists, before anything is changed: what is
// there then is told apart from what the rollout causes.
func (w *watcher) awaitLists(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.drainTime)
	defer cancel()
	cache.WaitFor(ctx, "", w.listed...)
}

// fromCache lists pods from the API server's watch cache. A list of this very moment may take
// 0.1 s longer, until the server knows that its cache is current.
func fromCache(o *metav1.ListOptions) {
	if o.ResourceVersion == "" {
		o.ResourceVersion = "0"
	}
}

// setGiveUp says what to call when waiting for the release is in vain.
func (w *watcher) setGiveUp(giveUp func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.giveUp = giveUp
}

func (w *watcher) close() {
	w.stop()
	w.done.Wait()
}

// withoutManagedFields drops what is large and not looked at.
func withoutManagedFields(o any) (any, error) {
	if object, err := meta.Accessor(o); err == nil {
		object.SetManagedFields(nil)
	}
	return o, nil
}

// follow names the objects of a revision: their pods and warnings are of interest.
func (w *watcher) follow(rel *release.Release) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ref := range manifestObjects(rel.Manifest) {
		w.objects[ref] = false
	}
	for _, hook := range rel.Hooks {
		for _, ref := range manifestObjects(hook.Manifest) {
			w.objects[ref] = true
		}
	}
}

// manifestObjects lists what a manifest holds, in its order.
func manifestObjects(manifest string) []objectRef {
	docs := releaseutil.SplitManifests(manifest)
	var refs []objectRef
	for _, key := range slices.SortedFunc(maps.Keys(docs), func(a, b string) int {
		if releaseutil.BySplitManifestsOrder([]string{a, b}).Less(0, 1) {
			return -1
		}
		return 1
	}) {
		var head struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if yaml.Unmarshal([]byte(docs[key]), &head) == nil && head.Kind != "" {
			refs = append(refs, objectRef{head.Kind, head.Metadata.Name})
		}
	}
	return refs
}

// podOwner is the object a pod belongs to: its workload, or itself.
func podOwner(pod *corev1.Pod) objectRef {
	for _, owner := range pod.OwnerReferences {
		if owner.Controller == nil || !*owner.Controller {
			continue
		}
		// A Deployment names its ReplicaSets after itself and the hash of the template.
		if hash := pod.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
			if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
				return objectRef{"Deployment", name}
			}
		}
		return objectRef{owner.Kind, owner.Name}
	}
	return objectRef{"Pod", pod.Name}
}

func (w *watcher) podSeen(o any, initial bool) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	state := w.pods[pod.UID]
	if state == nil {
		state = &podState{ref: podOwner(pod), old: initial, logs: map[string]*containerLog{}}
		w.pods[pod.UID] = state
	}
	state.pod = pod
	hook, known := w.objects[state.ref]
	if known && !state.old {
		if hook {
			w.streamLogs(state)
		}
		if w.inVain(state) {
			w.giveUp()
		}
	}
	w.broadcast()
}

// broadcast wakes whoever waits for a change. The caller holds the lock.
func (w *watcher) broadcast() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// inVain says that a new pod will not become ready by waiting.
func (w *watcher) inVain(state *podState) bool {
	for _, c := range containerStatuses(state.pod) {
		waiting := c.State.Waiting
		if waiting == nil {
			continue
		}
		switch waiting.Reason {
		case "InvalidImageName":
			return true
		case "CrashLoopBackOff":
			// A Job counts its own failures.
			if c.RestartCount >= crashLoopRestart && state.ref.kind != "Job" {
				return true
			}
		case "ImagePullBackOff", "ErrImagePull":
			if !strings.Contains(waiting.Message, "not found") {
				continue
			}
			if state.missing.IsZero() {
				state.missing = time.Now()
			}
			if time.Since(state.missing) > imageMissing {
				return true
			}
		}
	}
	return false
}

func (w *watcher) eventSeen(o any, initial bool) {
	event, ok := o.(*corev1.Event)
	if !ok || initial {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.concerns(event) {
		return
	}
	if len(w.events) == maxEventsKept { // the newest tell most
		w.events = slices.Delete(w.events, 0, 1)
	}
	w.events = append(w.events, event)
	about := event.InvolvedObject
	key := about.Kind + "/" + about.Name + "/" + event.Reason
	if w.repeats[key]++; w.repeats[key] <= maxEventRepeats {
		w.log.printf("warning: %s %s: %s: %s", about.Kind, about.Name, event.Reason, clip(event.Message, maxCause))
	}
}

// concerns says whether an event is about an object of the release, its ReplicaSets or pods.
func (w *watcher) concerns(event *corev1.Event) bool {
	about := event.InvolvedObject
	if _, ok := w.objects[objectRef{about.Kind, about.Name}]; ok {
		return true
	}
	switch about.Kind {
	case "Pod":
		if state := w.pods[about.UID]; state != nil {
			_, ok := w.objects[state.ref]
			return ok
		}
	case "ReplicaSet":
		if i := strings.LastIndexByte(about.Name, '-'); i > 0 {
			_, ok := w.objects[objectRef{"Deployment", about.Name[:i]}]
			return ok
		}
	}
	return false
}

// containerStatuses are a pod's containers, init containers first.
func containerStatuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}
