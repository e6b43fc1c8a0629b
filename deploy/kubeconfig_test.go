package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfigHead = `apiVersion: v1
kind: Config
current-context: main
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443"}}
- {name: withca, cluster: {server: "https://127.0.0.1:6443", certificate-authority: pki/ca.crt}}
contexts:
- {name: main, context: {cluster: c, user: u}}
- {name: other, context: {cluster: c, user: plugin}}
- {name: ca, context: {cluster: withca, user: u}}
users:
- name: plugin
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/steal, interactiveMode: Never}}
- name: u
  user: `

func TestKubeconfig(t *testing.T) {
	for _, tc := range []struct {
		name, user, context string
		want                string // part of the error; empty: accepted
	}{
		{"token", "{token: abc}", "", ""},
		{"another user's plugin does not matter", "{token: abc}", "main", ""},
		{"exec plugin", "{exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}}", "", `the program "aws", which Slipway does not run`},
		{"exec plugin of the chosen context", "{token: abc}", "other", `the program "/bin/steal"`},
		{"auth provider", "{auth-provider: {name: gcp}}", "", `the auth provider "gcp"`},
		{"relative token file", "{tokenFile: token}", "", ""},
		{"absolute token file", "{tokenFile: /etc/shadow}", "", "/etc/shadow"},
		{"absolute client key", "{client-certificate-data: YQ==, client-key: /root/key}", "", "/root/key"},
		{"token file above", "{tokenFile: ../secret}", "", "../secret"},
		{"token file above, the long way", "{tokenFile: pki/../../secret}", "", "pki/../../secret"},
		{"no such context", "{token: abc}", "nowhere", `no context "nowhere"`},
		{"unreadable CA beside it", "{token: abc}", "ca", "ca.crt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "token"), []byte("from-file"), 0o600); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "kubeconfig")
			if err := os.WriteFile(file, []byte(kubeconfigHead+tc.user+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenCluster(ClusterConfig{Name: "x", KubeconfigFile: file, Context: tc.context}, testLog(t))
			switch {
			case tc.want == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tc.want != "" && err == nil:
				t.Fatal("accepted")
			case tc.want != "" && !strings.Contains(err.Error(), tc.want):
				t.Fatalf("error %q does not say %q", err, tc.want)
			}
		})
	}
}

func TestClusterConfigNeedsOneWay(t *testing.T) {
	for _, cfg := range []ClusterConfig{{Name: "x"}, {Name: "x", InCluster: true, KubeconfigFile: "k"}, {Name: "x", KubeconfigFile: "absent"}} {
		if _, err := OpenCluster(cfg, testLog(t)); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestKubeconfigOfTheUserIsNotRead(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, []byte(kubeconfigHead+"{token: abc}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", mine)
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCluster(ClusterConfig{Name: "x", KubeconfigFile: empty}, testLog(t)); err == nil {
		t.Fatal("an empty kubeconfig was filled from $KUBECONFIG")
	}
}
