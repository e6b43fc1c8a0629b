package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

func (p *exam) queue(ctx context.Context) []finding {
	err := queue.Probe(ctx, p.c.Queue)
	switch {
	case errors.Is(err, queue.ErrInUse) && p.serving(ctx):
		return []finding{good("the data folder %s is used by the server that runs", p.c.Queue.Embedded.Dir)}
	case errors.Is(err, queue.ErrInUse):
		return []finding{fail(err.Error()+", and no server answers on "+p.c.Server.AdminSocket, "stop it, or give this server a folder of its own")}
	case err != nil && p.c.Queue.URL != "":
		return []finding{fail(err.Error(), "start the NATS cluster with JetStream, or correct queue.url, credentials_file and ca_file")}
	case err != nil:
		return []finding{fail(err.Error(), "let the server's user write to queue.embedded.dir")}
	case p.c.Queue.URL != "":
		return []finding{good("the NATS cluster answers and has JetStream")}
	}
	return []finding{good("the data folder %s can be used", p.c.Queue.Embedded.Dir)}
}

// serving tells whether a server with this configuration runs.
func (p *exam) serving(ctx context.Context) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.c.Server.AdminSocket)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// begun asks the server that runs since when it may act: what is in a queue tells only who uses it.
func (p *exam) begun(ctx context.Context) []finding {
	if !p.serving(ctx) {
		return []finding{good("not looked at: no server runs here that could tell")}
	}
	c := newClient(p.c.Server.AdminSocket)
	defer c.http.CloseIdleConnections()
	var start jobs.Start
	err := c.get(ctx, "/api/v1/begin", &start)
	if problem := (*refused)(nil); errors.As(err, &problem) && problem.status == http.StatusNotFound {
		return []finding{warn("the data folder is new: nothing is started until it is said since when to act", "slipway begin")}
	} else if err != nil {
		return []finding{warn(err.Error(), "look at the server's log")}
	}
	return []finding{good("what came since %s is acted on", start.Since.Format(time.RFC3339))}
}

func (p *exam) work(context.Context) []finding {
	dir := p.c.Work.Dir
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir { // it is made at the first start
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	remedy := "let the server's user write to work.dir"
	if err != nil {
		return []finding{fail(err.Error(), remedy)}
	}
	if !info.IsDir() {
		return []finding{fail(dir+" is not a folder", "choose another work.dir")}
	}
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return []finding{fail(err.Error(), remedy)}
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return []finding{fail(err.Error(), remedy)}
	}
	if len(p.c.Server.AdminSocket) > 107 {
		return []finding{fail(fmt.Sprintf("the path of the admin socket has %d bytes, and the system takes 107", len(p.c.Server.AdminSocket)), "set server.admin_socket to a shorter one")}
	}
	return []finding{good("%s can be written", p.c.Work.Dir)}
}

func (p *exam) pages(ctx context.Context) []finding {
	address := p.c.Server.URL
	if address == "" {
		return []finding{warn("server.url is not set: checks on GitHub link to "+p.c.Server.Pages+", which works on this machine only", "set server.url")}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return []finding{fail("server.url is not a URL", "correct server.url")}
	}
	client := &http.Client{Transport: p.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return []finding{warn(fmt.Sprintf("%s does not answer from here: %v", address, err), "start the server, and check name, TLS proxy and firewall; where only people's browsers reach it, this is as it should be")}
	}
	_ = answer.Body.Close()
	if answer.StatusCode >= 500 {
		return []finding{warn(fmt.Sprintf("%s answers %s", address, answer.Status), "start the server behind the proxy")}
	}
	return []finding{good("%s answers %s", address, answer.Status)}
}

// engines are the checks of what builds and rolls out: one for each BuildKit, registry and cluster.
func (p *exam) engines() (list []check) {
	if len(p.c.Builds.BuildKit) == 0 {
		list = append(list, check{"buildkit", func(context.Context) []finding {
			return []finding{warn("none is configured: builds wait", "set builds.buildkit")}
		}})
	}
	ready := func(name, remedy string, ask func(context.Context) error) check {
		return check{name, func(ctx context.Context) []finding {
			if p.builds == nil {
				return []finding{fail("not looked at: "+p.buildsErr.Error(), "put config right first")}
			}
			if err := ask(ctx); err != nil {
				return []finding{fail(err.Error(), remedy)}
			}
			return []finding{good("answers")}
		}}
	}
	for _, address := range p.c.Builds.BuildKit {
		list = append(list, ready("buildkit "+address, "start buildkitd there, and let the server's user reach it", func(ctx context.Context) error {
			return p.builds.PingBuildKit(ctx, address)
		}))
	}
	for _, host := range slices.Sorted(maps.Keys(p.c.Registries)) {
		list = append(list, ready("registry "+host, "check its name, username, password_file and ca_file; a proxy belongs into outgoing", func(ctx context.Context) error {
			return p.builds.PingRegistry(ctx, host)
		}))
	}
	for _, name := range p.c.clusterNames() {
		list = append(list, check{"cluster " + name, func(ctx context.Context) []finding { return p.cluster(ctx, name) }})
	}
	return list
}

const maxNamespaces = 10 // that are asked about in each cluster

func (p *exam) cluster(ctx context.Context, name string) []finding {
	cluster, err := deploy.OpenCluster(p.c.Clusters[name].deploy(name), slog.New(slog.DiscardHandler))
	if err == nil {
		err = cluster.Ping(ctx)
	}
	if err != nil {
		return []finding{fail(err.Error(), "check the kubeconfig, its credentials and the way to the cluster")}
	}
	namespaces, certain := p.namespaces(name)
	var found []finding
	for _, namespace := range namespaces {
		denied, err := cluster.Denied(ctx, namespace)
		switch {
		case err != nil:
			return []finding{warn(err.Error(), "look at the cluster's API server")}
		case len(denied) > 0 && certain:
			found = append(found, fail(fmt.Sprintf("in namespace %s it may not %s", namespace, strings.Join(denied, ", ")), "bind a role with that to the kubeconfig's user there"))
		case len(denied) > 0:
			found = append(found, warn("not in every namespace it may "+strings.Join(denied, ", "), "bind a role with that wherever rollouts go"))
		}
	}
	if len(found) == 0 {
		found = append(found, good("answers, and lets rollouts keep their leases and revisions"))
	}
	return found
}

// namespaces are those of a cluster that the environments name as they are. certain is false when there are none: all are
// asked about at once then, which a narrower role rightly refuses.
func (p *exam) namespaces(cluster string) (list []string, certain bool) {
	for _, e := range p.c.Environments {
		if !slices.Contains(e.Clusters, cluster) {
			continue
		}
		for _, n := range e.Namespaces {
			if !strings.ContainsAny(n, "*?+[]!$\\") && !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	slices.Sort(list)
	if len(list) == 0 {
		return []string{""}, false
	}
	return list[:min(len(list), maxNamespaces)], true
}
