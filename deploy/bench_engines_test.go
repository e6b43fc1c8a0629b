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
	b.Run("by=slipway", func(b *testing.B) {
		s := newSite(b, engines)
		values := m{"migrate": ""}
		s.deploy(ownerOfRun("first"), values)
		b.ResetTimer()
		for i := range b.N {
			s.deploy(ownerOfRun(fmt.Sprint(i)), values)
		}
	})
	b.Run("by=helm", func(b *testing.B) {
		s := newSite(b, engines)
		upgrade := func() {
			cmd := exec.CommandContext(b.Context(), engines.Helm, "upgrade", "--install", "--create-namespace", "shop", "testdata/shop",
				"--kubeconfig", engines.Kubeconfig, "--namespace", s.namespace, "--wait", "--set", "migrate=")
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("helm: %v\n%s", err, out)
			}
		}
		upgrade()
		b.ResetTimer()
		for range b.N {
			upgrade()
		}
	})
}
