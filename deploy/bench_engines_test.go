//go:build engines

package deploy

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/slipway-ci/slipway/enginetest"
)

// BenchmarkUpgrade upgrades a release to what it is already, in process and by the helm program on the same cluster. In
// process it does more (lease, ownership, scope, what runs afterwards) and should still take no longer.
func BenchmarkUpgrade(b *testing.B) {
	engines := enginetest.Start(b, options)
	s := newSite(b, engines) // for both, since each is called several times
	b.Run("slipway", func(b *testing.B) {
		values, n := m{"migrate": ""}, 0
		for b.Loop() {
			n++
			s.deploy(ownerOfRun(fmt.Sprint(n)), values)
		}
	})
	b.Run("helm", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), engines.Helm, "upgrade", "--install", "--create-namespace", "shop", "testdata/shop",
				"--kubeconfig", engines.Kubeconfig, "--namespace", s.namespace+"-by-helm", "--wait", "--set", "migrate=")
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("helm: %v\n%s", err, out)
			}
		}
	})
}
