package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"
)

// ClusterConfig names a cluster and how to reach it. Exactly one of KubeconfigFile and
// InCluster is set.
type ClusterConfig struct {
	// Name is what people call the cluster, for logs and messages.
	Name string
	// KubeconfigFile is a file of the operator's. It may hold tokens and certificates
	// or name files beside it by relative paths; exec and auth-provider plugins are refused.
	KubeconfigFile string
	// Context picks one of the file's contexts; empty means its current-context.
	Context string
	// InCluster uses the service account of the pod Slipway runs in.
	InCluster bool
}

// Cluster is one Kubernetes API. It is safe for concurrent use and made to be kept: what
// the API server offers is asked once and shared by all rollouts.
type Cluster struct {
	name   string
	log    *slog.Logger
	config *rest.Config // never handed out, only copied
	client kubernetes.Interface
	timing timing

	mu        sync.Mutex
	offers    *offers
	observed  map[string]observedLease
	abandoned map[int64]int // by repository, renders that were given up and still run
}

// timing holds the times a rollout goes by. Tests shorten them.
type timing struct {
	lease       time.Duration // a lease runs out this long after its last renewal
	renewEvery  time.Duration
	retryEvery  time.Duration // after a renewal that failed
	margin      time.Duration // writes stop this long before the lease runs out
	readLimit   time.Duration // longest read that is not a watch
	render      time.Duration // longest wait for Helm to render and check a chart
	drain       time.Duration // longest wait for a finished hook's log
	offersFresh time.Duration // discovery is asked again after this
}

func defaultTiming() timing {
	return timing{
		lease:       30 * time.Second,
		renewEvery:  5 * time.Second,
		retryEvery:  time.Second,
		margin:      5 * time.Second,
		readLimit:   time.Minute,
		render:      2 * time.Minute,
		drain:       10 * time.Second,
		offersFresh: 10 * time.Minute,
	}
}

// offers is what the API server offers, as discovery told it.
type offers struct {
	since     time.Time
	documents *documentCache
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
	schema    *sharedSchema
}

// The name under which Helm's own binary writes fields. With another one, a later
// `helm upgrade` by hand would conflict with every field we applied.
const fieldManager = "helm"

var setFieldManager = sync.OnceFunc(func() { kube.ManagedFieldsManager = fieldManager })

// OpenCluster reads how to reach a cluster; it does not connect. Use Ping for that.
func OpenCluster(cfg ClusterConfig, log *slog.Logger) (*Cluster, error) {
	setFieldManager()
	config, err := restConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cfg.Name, err)
	}
	return newCluster(cfg.Name, config, log, defaultTiming())
}

func restConfig(cfg ClusterConfig) (*rest.Config, error) {
	switch {
	case cfg.InCluster && cfg.KubeconfigFile != "":
		return nil, errors.New("it is both in-cluster and has a kubeconfig file: choose one")
	case cfg.InCluster:
		return rest.InClusterConfig()
	case cfg.KubeconfigFile != "":
		return readKubeconfig(cfg.KubeconfigFile, cfg.Context)
	default:
		return nil, errors.New("it has neither a kubeconfig file nor in-cluster access: give one")
	}
}

func newCluster(name string, config *rest.Config, log *slog.Logger, t timing) (*Cluster, error) {
	log = log.With("cluster", name)
	config = rest.CopyConfig(config)
	config.UserAgent = "slipway"
	config.QPS, config.Burst = 50, 100
	config.WarningHandlerWithContext = apiWarnings{log}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	return &Cluster{
		name: name, log: log, config: config, client: client, timing: t,
		observed: map[string]observedLease{},
	}, nil
}

// Name is the cluster's name as configured.
func (c *Cluster) Name() string { return c.name }

// Ping asks the API server for its version: an error says it can't be reached or
// doesn't accept our credentials.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := c.client.CoreV1().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("ask cluster %s for its version: %w", c.name, err)
	}
	return nil
}

// offered returns what the API server offers, asked at most every timing.offersFresh.
func (c *Cluster) offered() (*offers, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offers != nil && time.Since(c.offers.since) < c.timing.offersFresh {
		return c.offers, nil
	}
	config := rest.CopyConfig(c.config)
	config.Timeout = c.timing.readLimit
	documents := &documentCache{}
	config.Wrap(documents.wrap)
	disc, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up discovery of cluster %s: %w", c.name, err)
	}
	cached := &keptDiscovery{CachedDiscoveryInterface: memory.NewMemCacheClient(disc), server: disc}
	o := &offers{
		since: time.Now(), documents: documents, discovery: cached,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached),
	}
	o.schema = &sharedSchema{getter: &getter{config: config, offers: o}}
	c.offers = o
	return o, nil
}

// forget makes the next rollout ask again what the API server offers.
func (c *Cluster) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offers = nil
}

// apiWarnings logs what the API server warns of, such as deprecated versions.
type apiWarnings struct{ log *slog.Logger }

func (w apiWarnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _ string, text string) {
	if code == 299 && text != "" {
		w.log.DebugContext(ctx, "warning from the API server", "text", clip(text, maxCause))
	}
}

// RouteLibraryLogs sends what Helm and the Kubernetes client write to the process-wide
// loggers (slog's default, the log package, klog) to log instead. It changes globals:
// call it once, from main.
func RouteLibraryLogs(log *slog.Logger) {
	quiet := slog.New(demoted{log.Handler()})
	slog.SetDefault(quiet)
	klog.SetSlogLogger(quiet)
}

// demoted passes every record on at debug level: what a library calls an error is
// reported by us, once, where it is handled.
type demoted struct{ slog.Handler }

func (d demoted) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }
