package deploy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	releaser "helm.sh/helm/v4/pkg/release"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// maxHistory is how many revisions of a release are kept.
const maxHistory = 10

// getter hands Helm the clients of one rollout: its own fenced connection, the cluster's
// shared knowledge of what the API server offers.
type getter struct {
	config    *rest.Config
	offers    *offers
	namespace string
}

func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }

func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.offers.discovery, nil
}

func (g *getter) ToRESTMapper() (meta.RESTMapper, error) { return g.offers.mapper, nil }

func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	overrides := &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: g.namespace}}
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), overrides)
}

// configuration is what a Helm action works with. Actions change it: each gets its own.
func (r *rollout) configuration() *action.Configuration {
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(r.helmLog))
	cfg.RESTClientGetter = r.getter
	cfg.KubeClient = r.kubeClient()
	cfg.Releases = r.records.storage()
	return cfg
}

// guardedClient is Helm's Kubernetes client, made to check every object it parses and to
// leave hooks in place until their logs are read.
type guardedClient struct {
	*kube.Client
	namespace     string
	clusterScoped bool
	watch         *watcher
}

func (r *rollout) kubeClient() *guardedClient {
	c := kube.New(r.getter)
	c.Namespace = r.release.Namespace
	c.SetLogger(r.helmLog)
	c.Factory = sharingFactory{c.Factory, r.getter.offers.schema}
	return &guardedClient{c, r.release.Namespace, r.release.AllowClusterScoped, r.watch}
}

// IsReachable is asked before each action. The release's history was read just then, from
// the same API server.
func (g *guardedClient) IsReachable() error { return nil }

// Build parses a manifest.
func (g *guardedClient) Build(r io.Reader, validate bool) (kube.ResourceList, error) {
	objects, err := g.Client.Build(r, validate)
	if err != nil {
		return nil, err
	}
	return objects, checkScope(objects, g.namespace, g.clusterScoped)
}

// GetWaiterWithOptions returns Helm's waiter, for what is not ready already.
func (g *guardedClient) GetWaiterWithOptions(strategy kube.WaitStrategy, options ...kube.WaitOption) (kube.Waiter, error) {
	waiter, err := g.Client.GetWaiterWithOptions(strategy, options...)
	if err != nil {
		return nil, err
	}
	return readyWaiter{waiter, g.watch.log}, nil
}

// Create applies objects that are new: those of a first installation, and hooks.
func (g *guardedClient) Create(objects kube.ResourceList, options ...kube.ClientCreateOption) (*kube.Result, error) {
	for _, info := range objects {
		g.watch.starts(info.Mapping.GroupVersionKind.Kind, info.Name)
	}
	return g.Client.Create(objects, options...)
}

// Delete removes objects. For hooks that ran, their logs are read to the end first.
func (g *guardedClient) Delete(objects kube.ResourceList, policy metav1.DeletionPropagation) (*kube.Result, []error) {
	for _, info := range objects {
		g.watch.drain(info.Mapping.GroupVersionKind.Kind, info.Name)
	}
	return g.Client.Delete(objects, policy)
}

// GetPodList and OutputContainerLogsForPodList serve the hook-output-log-policy
// annotation. The watcher has logged every hook by then, as it ran.
func (g *guardedClient) GetPodList(string, metav1.ListOptions) (*corev1.PodList, error) {
	return &corev1.PodList{}, nil
}

func (g *guardedClient) OutputContainerLogsForPodList(*corev1.PodList, string, func(namespace, pod, container string) io.Writer) error {
	return nil
}

// recordError is trouble with the record of a release, which is ours, never the chart's.
type recordError struct {
	doing string
	cause error
}

func (e *recordError) Error() string { return e.doing + ": " + e.cause.Error() }
func (e *recordError) Unwrap() error { return e.cause }

// records stores revisions as Helm does, in Secrets, stamped with their owner. Creating
// a revision is the last moment before anything is applied: its hooks are checked there.
type records struct {
	driver.Driver
	log   slog.Handler
	stamp func(*release.Release)       // labels a revision with its owner before it is recorded
	check func(*release.Release) error // before a revision is recorded
	after func(*release.Release)       // when it is

	mu        sync.Mutex
	begun     bool             // recording a revision has begun
	abandoned bool             // no revision may be recorded any more
	created   *release.Release // newest recorded by this rollout
	known     *snapshot        // what history read; nil once something was written
	err       error            // the first that reading or writing a record met; Helm swallows some
}

func newRecords(client kubernetes.Interface, namespace string, owner Owner, log slog.Handler) *records {
	secrets := driver.NewSecrets(client.CoreV1().Secrets(namespace))
	secrets.SetLogger(log)
	return &records{Driver: secrets, log: log, stamp: owner.stamp}
}

func (d *records) storage() *storage.Storage {
	s := storage.Init(d)
	s.SetLogger(d.log)
	s.MaxHistory = maxHistory
	return s
}

func (d *records) note(doing string, err error) error {
	if err == nil || errors.Is(err, driver.ErrReleaseNotFound) || errors.Is(err, driver.ErrNoDeployedReleases) {
		return err
	}
	wrapped := &recordError{doing, err}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = wrapped
	}
	return wrapped
}

func (d *records) trouble() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// newest is the revision this rollout recorded last, nil before the first.
func (d *records) newest() *release.Release {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.created
}

// forgetNewest makes newest say nil until the next revision.
func (d *records) forgetNewest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun, d.created = false, nil
}

// abandon forbids recording a revision and returns true, unless recording has begun.
func (d *records) abandon() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.abandoned = d.abandoned || !d.begun
	return d.abandoned
}

// begin notes that recording begins and returns true, unless abandon forbade it.
func (d *records) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = d.begun || !d.abandoned
	return d.begun
}

func (d *records) Create(key string, rls releaser.Releaser) error {
	rel, err := asRelease(rls)
	if err != nil {
		return err
	}
	if err := d.check(rel); err != nil {
		return err
	}
	if !d.begin() {
		return errors.New("the rollout was abandoned")
	}
	d.forget()
	d.stamp(rel)
	if err := d.Driver.Create(key, rel); err != nil {
		return d.note("record revision "+key, err)
	}
	d.mu.Lock()
	d.created = rel
	d.mu.Unlock()
	d.after(rel)
	return nil
}

func (d *records) Update(key string, rls releaser.Releaser) error {
	d.forget()
	return d.note("update revision "+key, d.Driver.Update(key, rls))
}

func (d *records) Get(key string) (releaser.Releaser, error) {
	rls, err := d.Driver.Get(key)
	return rls, d.note("read revision "+key, err)
}

// Query reads the revisions with all of these labels. Helm asks up to three times for
// those that history has just read: what was decided from is what it works on.
func (d *records) Query(labels map[string]string) ([]releaser.Releaser, error) {
	d.mu.Lock()
	known := d.known
	d.mu.Unlock()
	if known != nil && known.name == labels["name"] {
		return known.query(labels)
	}
	rls, err := d.Driver.Query(labels)
	return rls, d.note("read the release's history", err)
}

func (d *records) Delete(key string) (releaser.Releaser, error) {
	d.forget()
	rls, err := d.Driver.Delete(key)
	return rls, d.note("delete revision "+key, err)
}

// history reads the release's revisions, oldest first; none is no error.
func (d *records) history(name string) ([]*release.Release, error) {
	d.forget()
	found, err := d.storage().History(name)
	if err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, err
	}
	history := make([]*release.Release, 0, len(found))
	for _, rls := range found {
		rel, err := asRelease(rls)
		if err != nil {
			return nil, err
		}
		history = append(history, rel)
	}
	slices.SortFunc(history, func(a, b *release.Release) int { return a.Version - b.Version })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = &snapshot{name: name, revisions: history}
	return history, nil
}

func (d *records) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}

// snapshot is all revisions of a release at one time.
type snapshot struct {
	name      string
	revisions []*release.Release // oldest first
}

func (s *snapshot) query(labels map[string]string) ([]releaser.Releaser, error) {
	var found []releaser.Releaser
	for _, rel := range s.revisions {
		all := true
		for key, value := range labels {
			all = all && rel.Labels[key] == value
		}
		if all {
			found = append(found, rel)
		}
	}
	if len(found) == 0 {
		return nil, driver.ErrReleaseNotFound
	}
	return found, nil
}

func asRelease(rls releaser.Releaser) (*release.Release, error) {
	rel, ok := rls.(*release.Release)
	if !ok || rel == nil || rel.Info == nil {
		return nil, fmt.Errorf("record of a release has the unexpected form %T", rls)
	}
	return rel, nil
}

// checkHooks parses every hook of a revision: guardedClient checks what it parses.
func (r *rollout) checkHooks(rel *release.Release) error {
	client := r.kubeClient()
	for _, hook := range rel.Hooks {
		if _, err := client.Build(strings.NewReader(hook.Manifest), false); err != nil {
			return fmt.Errorf("hook %s: %w", hook.Path, err)
		}
	}
	return nil
}
