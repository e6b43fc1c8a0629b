package deploy

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// rev is a revision; by is its owner, nil for one made by hand.
func rev(version int, status common.Status, by *Owner) *release.Release {
	rel := &release.Release{Name: "shop", Namespace: "tks", Version: version, Info: &release.Info{Status: status}}
	if by != nil {
		rel.Labels = by.labels()
		by.stamp(rel)
	}
	return rel
}

func rolledBack(version, to int, status common.Status, by *Owner) *release.Release {
	rel := rev(version, status, nil)
	rel.Info.RollbackRevision = to
	rel.Labels = by.labels() // Helm copies those of the revision it goes back to
	by.stamp(rel)
	return rel
}

func TestDecide(t *testing.T) {
	me := testOwner()
	earlier, retry, other := me, me, me
	earlier.Run = "run-0"
	retry.Attempt = 2
	other.Repository, other.RepositoryID = "acme/other", 8
	byHand := func(rel *release.Release, inherited Owner, from int) *release.Release {
		rel.Labels = maps.Clone(inherited.labels())
		rel.Labels[labelRevision] = strconv.Itoa(from)
		return rel
	}
	type releases = []*release.Release
	for _, tc := range []struct {
		name    string
		history releases
		want    plan
		says    string
	}{
		{"nothing there", nil, plan{step: stepInstall}, ""},
		{"deployed by an earlier run", releases{rev(1, common.StatusDeployed, &earlier)}, plan{step: stepUpgrade, rollbackTarget: 1}, ""},
		{"deployed by this very work", releases{rev(1, common.StatusSuperseded, &earlier), rev(2, common.StatusDeployed, &me)}, plan{step: stepAdopt, rollbackTarget: 2}, ""},
		{"deployed by another attempt", releases{rev(1, common.StatusDeployed, &retry)}, plan{step: stepUpgrade, rollbackTarget: 1}, ""},
		{"deployed by hand", releases{rev(3, common.StatusDeployed, nil)}, plan{step: stepUpgrade, rollbackTarget: 3}, ""},
		{"upgraded by hand over this work", releases{rev(1, common.StatusSuperseded, &me), byHand(rev(2, common.StatusDeployed, nil), me, 1)}, plan{step: stepUpgrade, rollbackTarget: 2}, ""},
		{"this work failed and was rolled back", releases{rev(1, common.StatusSuperseded, &earlier), rev(2, common.StatusFailed, &me), rolledBack(3, 1, common.StatusDeployed, &earlier)}, plan{step: stepUpgrade, rollbackTarget: 3}, ""},
		{"rolled back to this very work", releases{rev(1, common.StatusSuperseded, &me), rev(2, common.StatusFailed, &earlier), rolledBack(3, 1, common.StatusDeployed, &me)}, plan{step: stepUpgrade, rollbackTarget: 3}, ""},

		{"another repository's", releases{rev(1, common.StatusDeployed, &other)}, plan{step: stepRefuse, rollbackTarget: 1}, "belongs to repository acme_other (ID 8)"},
		{"another repository's, upgraded by hand since", releases{rev(1, common.StatusSuperseded, &other), rev(2, common.StatusDeployed, nil)}, plan{step: stepRefuse, rollbackTarget: 2}, "belongs to repository acme_other"},
		{"another repository's, pending", releases{rev(1, common.StatusPendingInstall, &other)}, plan{step: stepRefuse}, "belongs to repository"},
		{"pending by hand", releases{rev(1, common.StatusDeployed, &me), rev(2, common.StatusPendingUpgrade, nil)}, plan{step: stepRefuse, rollbackTarget: 1}, "is pending-upgrade since"},
		{"pending by hand, labels inherited", releases{rev(1, common.StatusDeployed, &me), byHand(rev(2, common.StatusPendingUpgrade, nil), me, 1)}, plan{step: stepRefuse, rollbackTarget: 1}, "helm rollback shop -n tks"},
		{"being uninstalled by hand", releases{rev(1, common.StatusUninstalling, nil)}, plan{step: stepRefuse}, "is uninstalling"},
		{"unknown", releases{rev(1, common.StatusUnknown, nil)}, plan{step: stepRefuse}, `state "unknown"`},

		{"own installation interrupted", releases{rev(1, common.StatusPendingInstall, &me)}, plan{step: stepReinstall, cleanup: cleanup{markFailed: true}}, ""},
		{"an earlier run's installation interrupted", releases{rev(1, common.StatusPendingInstall, &earlier)}, plan{step: stepInstall, cleanup: cleanup{remove: true}}, ""},
		{"own installation failed", releases{rev(1, common.StatusFailed, &me)}, plan{step: stepReinstall}, ""},
		{"an earlier run's installation failed", releases{rev(1, common.StatusFailed, &earlier)}, plan{step: stepInstall, cleanup: cleanup{remove: true}}, ""},
		{"installation by hand failed", releases{rev(1, common.StatusFailed, nil)}, plan{step: stepUpgrade}, ""},
		{"own removal interrupted", releases{rev(1, common.StatusUninstalling, &me)}, plan{step: stepInstall, cleanup: cleanup{remove: true}}, ""},
		{"uninstalled, history kept", releases{rev(1, common.StatusUninstalled, nil)}, plan{step: stepReinstall, keepHistory: true}, ""},

		{"own upgrade interrupted", releases{rev(1, common.StatusDeployed, &earlier), rev(2, common.StatusPendingUpgrade, &me)}, plan{step: stepUpgrade, cleanup: cleanup{markFailed: true}, rollbackTarget: 1}, ""},
		{"an earlier run's upgrade interrupted", releases{rev(1, common.StatusDeployed, &earlier), rev(2, common.StatusPendingUpgrade, &earlier)}, plan{step: stepUpgrade, cleanup: cleanup{markFailed: true, restore: 1}, rollbackTarget: 1}, ""},
		{"interrupted between Helm's two records", releases{rev(1, common.StatusSuperseded, &earlier), rev(2, common.StatusPendingUpgrade, &me)}, plan{step: stepUpgrade, cleanup: cleanup{markFailed: true}, rollbackTarget: 1}, ""},
		{"own rollback interrupted", releases{rev(1, common.StatusDeployed, &earlier), rev(2, common.StatusFailed, &me), rolledBack(3, 1, common.StatusPendingRollback, &earlier)}, plan{step: stepUpgrade, cleanup: cleanup{markFailed: true, restore: 1}, rollbackTarget: 1}, ""},
		{"own upgrade failed, not rolled back", releases{rev(1, common.StatusDeployed, &earlier), rev(2, common.StatusFailed, &me)}, plan{step: stepUpgrade, rollbackTarget: 1}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := decide(tc.history, me, "tks", "shop")
			if tc.says != "" {
				if got.failure == nil || !strings.Contains(got.failure.Sentence, tc.says) {
					t.Errorf("failure %+v does not say %q", got.failure, tc.says)
				}
			} else if got.failure != nil {
				t.Errorf("refused: %s", got.failure.Sentence)
			}
			got.failure, got.latest = nil, nil
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestLabelsAreValid(t *testing.T) {
	o := Owner{Repository: "acme-corp/.github", RepositoryID: 1 << 40, Run: strings.Repeat("r", 100), Job: "release (api, ä)", Attempt: 3, SHA: strings.Repeat("0f", 20)}
	labels := o.labels()
	for k, v := range labels {
		if labelValue(v) != v {
			t.Errorf("%s=%q is no label value", k, v)
		}
	}
	changed := o
	changed.Job = "release (api, ö)"
	if labels[labelJob] == changed.labels()[labelJob] {
		t.Error("two jobs have the same label")
	}
	if !strings.HasPrefix(testOwner().labels()[labelRepository], "acme_shop") {
		t.Error("people can't tell the repository")
	}
}
