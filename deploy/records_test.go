package deploy

import (
	"errors"
	"fmt"
	"testing"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// What was decided from is what Helm gets, until something is written.
func TestHistoryIsReadOnce(t *testing.T) {
	client := fake.NewClientset()
	reads := 0
	client.PrependReactor("list", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
		reads++
		return false, nil, nil
	})
	d := newRecords(client, "tks", testOwner(), testLog(t).Handler())
	d.check, d.after = func(*release.Release) error { return nil }, func(*release.Release) {}
	wantReads := func(want int) {
		t.Helper()
		if reads != want {
			t.Errorf("the history was read %d times, want %d", reads, want)
		}
	}
	revision := func(n int, status common.Status) *release.Release {
		return &release.Release{Name: "shop", Version: n, Info: &release.Info{Status: status}}
	}

	if history, err := d.history("shop"); err != nil || len(history) != 0 {
		t.Fatalf("%v, %v", history, err)
	}
	if _, err := d.storage().History("shop"); !errors.Is(err, driver.ErrReleaseNotFound) {
		t.Errorf("without revisions: %v", err)
	}
	wantReads(1)

	for n, status := range []common.Status{common.StatusSuperseded, common.StatusDeployed, common.StatusFailed} {
		if err := d.Driver.Create(fmt.Sprint("sh.helm.release.v1.shop.v", n+1), revision(n+1, status)); err != nil {
			t.Fatal(err)
		}
	}
	if history, err := d.history("shop"); err != nil || len(history) != 3 || history[0].Version != 1 {
		t.Fatalf("%v, %v", history, err)
	}
	wantReads(2)
	last, err := d.storage().Last("shop")
	if err != nil || last.(*release.Release).Version != 3 {
		t.Errorf("last: %v, %v", last, err)
	}
	deployed, err := d.storage().Deployed("shop")
	if err != nil || deployed.(*release.Release).Version != 2 {
		t.Errorf("deployed: %v, %v", deployed, err)
	}
	if _, err := d.storage().Last("other"); !errors.Is(err, driver.ErrReleaseNotFound) {
		t.Errorf("another release: %v", err)
	}
	wantReads(3) // of the other one

	for name, write := range map[string]func() error{
		"create": func() error { return d.Create("sh.helm.release.v1.shop.v4", revision(4, common.StatusPendingUpgrade)) },
		"update": func() error { return d.Update("sh.helm.release.v1.shop.v3", revision(3, common.StatusFailed)) },
		"delete": func() error { _, err := d.Delete("sh.helm.release.v1.shop.v1"); return err },
	} {
		if _, err := d.history("shop"); err != nil {
			t.Fatal(err)
		}
		if err := write(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := reads
		if _, err := d.storage().Last("shop"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if reads != before+1 {
			t.Errorf("after a %s, the history of before was used", name)
		}
	}
}
