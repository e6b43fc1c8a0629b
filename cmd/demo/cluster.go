package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// A cluster is the Kubernetes that the story rolls out to, as one sees it with kubectl: nothing here asks Slipway.
type cluster struct {
	kubeconfig string
	outside    bool // not ours: the namespace is removed at the end
	client     kubernetes.Interface
	hook       hookWitness

	stop     context.CancelFunc
	watching sync.WaitGroup
}

// openCluster connects to a cluster and watches the namespace that the story is about.
func openCluster(ctx context.Context, kubeconfig string, outside bool) (*cluster, error) {
	path, err := filepath.Abs(kubeconfig)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("use %s: %w", path, err)
	}
	_, err = client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		return nil, fmt.Errorf("there is a namespace %s in that cluster; the demo makes one and deletes it at the end, so it keeps its hands off: use another cluster or delete it (kubectl --kubeconfig %s delete namespace %s)", namespace, path, namespace)
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("ask the cluster of %s: %w", path, err)
	}
	c := &cluster{kubeconfig: path, outside: outside, client: client}
	watch, stop := context.WithCancel(context.Background())
	c.stop = stop
	see(watch, c, client.BatchV1().RESTClient(), "jobs", &batchv1.Job{}, c.hook.job)
	see(watch, c, client.AppsV1().RESTClient(), "deployments", &appsv1.Deployment{}, c.hook.deployment)
	return c, nil
}

// see calls seen with every state of the namespace's objects of a kind, until ctx ends.
func see[T runtime.Object](ctx context.Context, c *cluster, get cache.Getter, resource string, kind T, seen func(T)) {
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(get, resource, namespace, fields.Everything()), ObjectType: kind,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { seen(o.(T)) },
			UpdateFunc: func(_, o any) { seen(o.(T)) },
		},
	})
	c.watching.Go(func() { informer.RunWithContext(ctx) })
}

// close stops watching, and removes what the story left in a cluster that isn't ours.
func (c *cluster) close() error {
	c.stop()
	c.watching.Wait()
	if !c.outside {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete namespace %s: %w", namespace, err)
	}
	return poll(ctx, "namespace "+namespace+" to be gone", func() (bool, error) {
		_, err := c.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// A hookWitness remembers whether the first hook Job had succeeded when the Deployment came to be. Both moments are
// resource versions, which the API server counts up with every change.
type hookWitness struct {
	mu                 sync.Mutex
	name               string
	succeeded, created uint64
}

func (w *hookWitness) job(j *batchv1.Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, hook := j.Annotations["helm.sh/hook"]; hook && j.Status.Succeeded > 0 && w.succeeded == 0 {
		w.name, w.succeeded = j.Name, version(j)
	}
}

func (w *hookWitness) deployment(d *appsv1.Deployment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.created == 0 {
		w.created = version(d)
	}
}

func version(o metav1.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0 // never so: resource versions are numbers (Kubernetes 1.35)
	}
	return n
}

// says tells what was witnessed.
func (w *hookWitness) says() (sentence string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.succeeded == 0:
		return "no hook Job was seen to succeed", false
	case w.created == 0:
		return "no Deployment was seen", false
	case w.succeeded > w.created:
		return fmt.Sprintf("hook Job %s succeeded (at %d) after the Deployment was made (at %d)", w.name, w.succeeded, w.created), false
	}
	return fmt.Sprintf("hook Job %s succeeded before the Deployment was made", w.name), true
}

// clusterFacts is what the cluster shows.
type clusterFacts struct {
	Revisions []revision `json:"revisions"` // of the release, oldest first
	Pods      []pod      `json:"pods"`      // of the release, without those that are on their way out
	Hook      string     `json:"hook,omitempty"`
}

// A revision is one of the release's, from Helm's own records.
type revision struct {
	Number int    `json:"number"`
	Status string `json:"status"`
}

// A pod is one of the release's.
type pod struct {
	Name    string `json:"name"`
	Image   string `json:"image"`   // as the pod asks for it
	Running string `json:"running"` // digest of what it runs, as the node reports it
	Ready   bool   `json:"ready"`
}

// look reads what is in the namespace now.
func (c *cluster) look(ctx context.Context) (clusterFacts, error) {
	facts := clusterFacts{Revisions: []revision{}, Pods: []pod{}}
	records, err := c.client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm,name=" + release})
	if err != nil {
		return facts, fmt.Errorf("list the release's revisions: %w", err)
	}
	for _, r := range records.Items {
		n, err := strconv.Atoi(r.Labels["version"])
		if err != nil {
			return facts, fmt.Errorf("secret %s is no record of Helm's: %w", r.Name, err)
		}
		facts.Revisions = append(facts.Revisions, revision{n, r.Labels["status"]})
	}
	slices.SortFunc(facts.Revisions, func(a, b revision) int { return a.Number - b.Number })
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + release})
	if err != nil {
		return facts, fmt.Errorf("list the release's pods: %w", err)
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			facts.Pods = append(facts.Pods, shapePod(p))
		}
	}
	return facts, nil
}

func shapePod(p corev1.Pod) pod {
	shape := pod{Name: p.Name}
	if len(p.Spec.Containers) > 0 {
		shape.Image = p.Spec.Containers[0].Image
	}
	if len(p.Status.ContainerStatuses) > 0 {
		_, shape.Running, _ = strings.Cut(p.Status.ContainerStatuses[0].ImageID, "@")
	}
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady {
			shape.Ready = condition.Status == corev1.ConditionTrue
		}
	}
	return shape
}

// deployed is the one revision that is deployed.
func (f clusterFacts) deployed() (revision, error) {
	var found []revision
	for _, r := range f.Revisions {
		if r.Status == "deployed" {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return revision{}, fmt.Errorf("%d of the release's revisions are deployed: %v", len(found), f.Revisions)
	}
	return found[0], nil
}

// serving is an error unless there are pods, all of them ready and running exactly this image.
func (f clusterFacts) serving(image, digest string) error {
	if len(f.Pods) == 0 {
		return errors.New("the release has no pods")
	}
	var faults []error
	for _, p := range f.Pods {
		if want := image + "@" + digest; p.Image != want || p.Running != digest || !p.Ready {
			faults = append(faults, fmt.Errorf("pod %s asks for %s, runs %s, ready: %t", p.Name, p.Image, p.Running, p.Ready))
		}
	}
	return errors.Join(faults...)
}
