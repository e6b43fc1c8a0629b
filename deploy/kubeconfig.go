package deploy

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const maxKubeconfig = 1 << 20 // bytes

// readKubeconfig reads one context of a kubeconfig file. Neither $KUBECONFIG nor the
// home folder is looked at.
func readKubeconfig(file, contextName string) (*rest.Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKubeconfig+1))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", file, err)
	}
	if len(data) > maxKubeconfig {
		return nil, fmt.Errorf("kubeconfig %s is larger than 1 MiB", file)
	}
	config, err := parseKubeconfig(data, contextName, filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	return config, nil
}

// parseKubeconfig turns a kubeconfig into a client configuration. What would run a
// program is refused: a kubeconfig is data here. Files it names are taken from dir only,
// by relative paths, so that the file can be moved with what belongs to it.
func parseKubeconfig(data []byte, contextName, dir string) (*rest.Config, error) {
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if contextName == "" {
		contextName = config.CurrentContext
	}
	used, ok := config.Contexts[contextName]
	if !ok {
		return nil, fmt.Errorf("it has no context %q: set current-context or name one of its contexts", contextName)
	}
	user := config.AuthInfos[used.AuthInfo]
	if user == nil {
		user = clientcmdapi.NewAuthInfo()
	}
	if user.Exec != nil {
		return nil, fmt.Errorf("user %q gets its credentials from the program %q, which Slipway does not run: use a service account token or a client certificate instead", used.AuthInfo, user.Exec.Command)
	}
	if user.AuthProvider != nil {
		return nil, fmt.Errorf("user %q uses the auth provider %q, which Slipway does not run: use a service account token or a client certificate instead", used.AuthInfo, user.AuthProvider.Name)
	}
	paths := []*string{&user.ClientCertificate, &user.ClientKey, &user.TokenFile}
	if cluster := config.Clusters[used.Cluster]; cluster != nil {
		paths = append(paths, &cluster.CertificateAuthority)
	}
	for _, p := range paths {
		switch {
		case *p == "":
		case !filepath.IsLocal(*p):
			return nil, fmt.Errorf("it names the file %s, which does not lie beside it: put the file into the folder of the kubeconfig and name it by a relative path, or embed it with `kubectl config view --flatten --raw`", *p)
		default:
			*p = filepath.Join(dir, *p)
		}
	}
	return clientcmd.NewNonInteractiveClientConfig(*config, contextName, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
}
