//go:build engines

package deploy

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/slipway-ci/slipway/enginetest"
)

// BenchmarkUpgrade upgrades a release in process and by the helm program, each on a release of its own that is installed
// before: to what it is already, and to new pods. In process it does more (lease, ownership, scope, what runs afterwards) and
// should still take no longer.
func BenchmarkUpgrade(b *testing.B) {
	engines := enginetest.Start(b, options)
	for _, to := range []struct {
		name     string
		greeting func(n int) string
	}{
		{"unchanged", func(int) string { return "hello" }},
		{"changed", func(n int) string { return fmt.Sprint("hello ", n) }},
	} {
		b.Run(to.name, func(b *testing.B) {
			for _, by := range []struct {
				name    string
				upgrade func(s *site, n int, greeting string)
			}{{"slipway", bySlipway}, {"helm", byHelm}} {
				b.Run(by.name, func(b *testing.B) {
					s, n := newSite(b, engines), 0
					by.upgrade(s, n, to.greeting(n))
					for b.Loop() {
						n++
						by.upgrade(s, n, to.greeting(n))
					}
				})
			}
		})
	}
}

func bySlipway(s *site, n int, greeting string) {
	s.deploy(ownerOfRun(fmt.Sprint(n)), m{"migrate": "", "greeting": greeting})
}

func byHelm(s *site, n int, greeting string) {
	args := []string{"upgrade", "shop", "testdata/shop", "--kubeconfig", s.engines.Kubeconfig, "--namespace", s.namespace,
		"--wait", "--wait-for-jobs", "--set", "migrate=,greeting=" + greeting}
	if n == 0 {
		args = append(args, "--install", "--create-namespace")
	}
	if out, err := exec.CommandContext(s.t.Context(), s.engines.Helm, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("helm: %v\n%s", err, out)
	}
}
