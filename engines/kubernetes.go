package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

func (i *instance) kubeconfig() string { return i.path("kubeconfig") }

// serviceSubnet is where services get their addresses. Nothing routes it (there
// is no kube-proxy), so all instances may use the same.
const serviceSubnet = "10.96.0.0/16"

// startKubernetes starts a control plane and, for real pods, a node on this
// machine; for kwok, fake nodes. It returns when pods can be created.
func startKubernetes(ctx context.Context, s *supervisor, t tools) error {
	i := s.instance
	real := i.Kubernetes == "real"
	if real {
		if err := requireInstalled("containerd", "ctr", "runc"); err != nil {
			return err
		}
	}

	var runtime error
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wait.Wait()
	defer cancel()
	if real { // while the control plane starts
		wait.Go(func() { runtime = startContainerd(ctx, s) })
	}
	api, err := startControlPlane(ctx, s, t)
	if err != nil {
		return err
	}
	if !real {
		return startKwok(ctx, s, t, api)
	}
	wait.Wait()
	if runtime != nil {
		return runtime
	}
	return startKubelet(ctx, s, t, api)
}

// startControlPlane starts etcd, the API server, the controller manager and the
// scheduler, and writes the kubeconfig.
func startControlPlane(ctx context.Context, s *supervisor, t tools) (*apiClient, error) {
	i := s.instance
	dir := i.path("kubernetes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key := filepath.Join(dir, "service-account.key")
	if err := makeOnce(key, newRSAKey); err != nil {
		return nil, err
	}
	tokenFile := filepath.Join(dir, "token")
	if err := makeOnce(tokenFile, func() ([]byte, error) { return []byte(rand.Text()), nil }); err != nil {
		return nil, err
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, err
	}
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, fmt.Appendf(nil, "%s,admin,admin,\"system:masters\"\n", token), 0o600); err != nil {
		return nil, err
	}
	api := &apiClient{
		server: "https://" + i.address("kube-apiserver"),
		token:  string(token),
		caFile: filepath.Join(dir, "certificates", "apiserver.crt"), // self-signed: its own authority
	}

	client, peer := "http://"+i.address("etcd"), "http://"+i.address("etcd-peer")
	if err := s.start(ctx, spec{
		name: "etcd",
		path: t.component("etcd"),
		args: []string{
			"--data-dir=" + filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		},
		ready: func(ctx context.Context) error { return answersOK(ctx, http.DefaultClient, client+"/health") },
		grace: 3 * time.Second,
	}); err != nil {
		return nil, err
	}
	if err := s.start(ctx, spec{
		name: "kube-apiserver",
		path: t.component("kube-apiserver"),
		args: []string{
			"--etcd-servers=" + client,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", i.Ports["kube-apiserver"]), "--cert-dir=" + filepath.Dir(api.caFile),
			"--endpoint-reconciler-type=none", // there is but one, and pods cannot reach it
			"--authorization-mode=RBAC", "--token-auth-file=" + tokens, "--allow-privileged",
			"--service-cluster-ip-range=" + serviceSubnet,
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		},
		ready: func(ctx context.Context) error { return api.get(ctx, "/readyz", nil) },
	}); err != nil {
		return nil, err
	}
	if err := api.writeKubeconfig(i.kubeconfig()); err != nil {
		return nil, err
	}
	common := []string{"--kubeconfig=" + i.kubeconfig(), "--leader-elect=false", "--secure-port=0"}
	if err := s.start(ctx, spec{
		name: "kube-scheduler",
		path: t.component("kube-scheduler"),
		args: common,
	}); err != nil {
		return nil, err
	}
	manager := spec{
		name: "kube-controller-manager",
		path: t.component("kube-controller-manager"),
		args: append([]string{"--service-account-private-key-file=" + key, "--root-ca-file=" + api.caFile}, common...),
		// It is at work when it has made what every pod needs.
		ready: func(ctx context.Context) error {
			return errors.Join(
				api.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil),
				api.get(ctx, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", nil))
		},
	}
	return api, s.start(ctx, manager)
}

//go:embed fake/stages.yaml
var stages []byte

// startKwok starts kwok with the instance's number of nodes.
func startKwok(ctx context.Context, s *supervisor, t tools, api *apiClient) error {
	i := s.instance
	config := i.path("kubernetes", "stages.yaml")
	if err := os.WriteFile(config, stages, 0o600); err != nil {
		return err
	}
	names := make([]string, i.Nodes)
	for n := range names {
		names[n] = fmt.Sprintf("fake-%d", n)
		err := api.create(ctx, "/api/v1/nodes", map[string]any{
			"apiVersion": "v1", "kind": "Node",
			"metadata": map[string]any{
				"name":   names[n],
				"labels": map[string]string{"kubernetes.io/hostname": names[n], "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok"},
			},
		})
		if err != nil {
			return fmt.Errorf("create fake node %s: %w", names[n], err)
		}
	}
	return s.start(ctx, spec{
		name: "kwok",
		path: t.component("kwok"),
		args: []string{
			"--kubeconfig=" + i.kubeconfig(), "--config=" + config, "--manage-all-nodes=true",
			"--node-ip=127.0.0.1", "--node-lease-duration-seconds=40",
		},
		ready: func(ctx context.Context) error {
			for _, name := range names {
				if err := api.nodeReady(ctx, name); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// makeOnce writes what content makes to path unless the file is there.
func makeOnce(path string, content func() ([]byte, error)) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	made, err := content()
	if err != nil {
		return err
	}
	return os.WriteFile(path, made, 0o600)
}

func newRSAKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
}

// apiClient asks the API server as its administrator.
type apiClient struct {
	server, token, caFile string
}

// get decodes the object at path into out; a nil out takes any 200.
func (a *apiClient) get(ctx context.Context, path string, out any) error {
	return a.do(ctx, http.MethodGet, path, nil, out)
}

// create posts an object; one of the same name that exists already is as good.
func (a *apiClient) create(ctx context.Context, path string, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	err = a.do(ctx, http.MethodPost, path, body, nil)
	if errors.Is(err, errExists) {
		return nil
	}
	return err
}

var errExists = errors.New("exists already")

func (a *apiClient) do(ctx context.Context, method, path string, body []byte, out any) error {
	client, err := httpsClient(a.caFile, "")
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	switch {
	case err != nil:
		return err
	case response.StatusCode == http.StatusConflict:
		return errExists
	case response.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, lastLines(content, 5))
	case out == nil:
		return nil
	}
	return json.Unmarshal(content, out)
}

// httpsClient trusts the certificate in caFile alone. The file is read anew
// each time, because the server may just have made it.
func httpsClient(caFile, serverName string) (*http.Client, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: serverName}},
	}, nil
}

// nodeReady says whether pods can be scheduled to a node.
func (a *apiClient) nodeReady(ctx context.Context, name string) error {
	var node struct {
		Spec struct {
			Taints []struct{ Key string }
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := a.get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status != "True" {
			return fmt.Errorf("node %s is not ready: %s", name, c.Message)
		}
	}
	if len(node.Status.Conditions) == 0 {
		return fmt.Errorf("node %s says nothing yet", name)
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("node %s has taint %s", name, node.Spec.Taints[0].Key)
	}
	return nil
}

// writeKubeconfig writes an administrator's kubeconfig that needs no other file.
func (a *apiClient) writeKubeconfig(path string) error {
	ca, err := os.ReadFile(a.caFile)
	if err != nil {
		return err
	}
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: engines
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: admin
  user:
    token: %s
contexts:
- name: engines
  context: {cluster: engines, user: admin}
current-context: engines
`, a.server, base64.StdEncoding.EncodeToString(ca), a.token), 0o600)
}
