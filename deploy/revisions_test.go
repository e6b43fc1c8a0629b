package deploy

import (
	"fmt"
	"strings"
	"testing"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
)

// askedFor is a revision that a Rollback for by made.
func askedFor(version, to int, status common.Status, by *Owner) *release.Release {
	rel := rev(version, status, nil)
	rel.Info.RollbackRevision = to
	by.stampRollback(rel)
	return rel
}

func described(rel *release.Release, description string) *release.Release {
	rel.Info.Description = description
	return rel
}

func TestDecideRollback(t *testing.T) {
	me := testOwner()
	deployer, asker, retry, other := me, me, me, me
	deployer.Run, asker.Run, retry.Attempt = "run-0", "run-2", 2
	other.Repository, other.RepositoryID = "acme/other", 8
	const (
		deployed, superseded, failed = common.StatusDeployed, common.StatusSuperseded, common.StatusFailed
		upgrading, goingBack         = common.StatusPendingUpgrade, common.StatusPendingRollback
	)
	type releases = []*release.Release
	by := func(version int, status common.Status) *release.Release { return rev(version, status, &deployer) }
	two := releases{by(1, superseded), by(2, deployed)}
	for _, tc := range []struct {
		name     string
		history  releases
		revision int
		want     string // of the plan, or of the refusal
	}{
		{"to the one before", two, 0, "2 to 1"},
		{"failed ones are no step", releases{by(1, superseded), by(2, failed), by(3, deployed)}, 0, "3 to 1"},
		{"deployed by hand", releases{rev(1, superseded, nil), rev(2, deployed, nil)}, 0, "2 to 1"},
		{"to a named one", releases{by(1, superseded), by(2, superseded), by(3, deployed)}, 1, "3 to 1"},
		{"to the one that ran, after one that failed", releases{by(1, superseded), by(2, deployed), by(3, failed)}, 0, "3 to 2"},
		{"to the one that ran, by its name", releases{by(1, superseded), by(2, deployed), by(3, failed)}, 2, "3 to 2"},
		{"a failed rollback again", releases{by(1, superseded), by(2, deployed), askedFor(3, 1, failed, &asker)}, 0, "3 to 1"},
		{"Helm died between its two records", releases{by(1, superseded), by(2, superseded)}, 0, "2 to 1"},

		// Going back again goes on from where the last rollback went to.
		{"again", releases{by(1, superseded), by(2, superseded), by(3, superseded), askedFor(4, 2, deployed, &asker)}, 0, "4 to 1"},
		{"again, by Helm", releases{by(1, superseded), by(2, superseded), by(3, superseded), rolledBack(4, 2, deployed, &deployer)}, 0, "4 to 1"},
		{"again and again", releases{by(1, superseded), by(2, superseded), by(3, superseded), askedFor(4, 2, superseded, &asker), askedFor(5, 1, deployed, &asker)}, 0, "no revision that ran before"},
		{"forward again, by name", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, deployed, &asker)}, 2, "3 to 2"},
		{"to one that went back itself", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, superseded, &asker), by(4, deployed)}, 0, "4 to 3"},
		{"what it went back to is not kept any more", releases{by(7, superseded), by(8, superseded), askedFor(9, 3, deployed, &asker)}, 0, "no revision that ran before"},

		{"this very work again", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, deployed, &me)}, 0, "2 to 1, adopt 3"},
		{"this very work again, named", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, deployed, &me)}, 1, "2 to 1, adopt 3"},
		{"this very work, and a rollout since", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, superseded, &me), by(4, deployed)}, 0, "2 to 1, adopt 3 overtaken"},
		{"this very work, and a rollout by hand at this moment", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, deployed, &me), rev(4, upgrading, nil)}, 0, "2 to 1, adopt 3 overtaken"},
		{"this very work, and a failed rollout that came back to it", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, superseded, &me), by(4, failed), func() *release.Release {
			rel := askedFor(3, 1, deployed, &me) // Helm copies its labels
			rel.Version, rel.Info.RollbackRevision = 5, 3
			me.stamp(rel)
			return rel
		}()}, 0, "2 to 1, adopt 3 overtaken"},
		{"another attempt", releases{by(1, superseded), by(2, superseded), by(3, superseded), askedFor(4, 2, deployed, &retry)}, 0, "4 to 1"},
		{"this very work, interrupted", releases{by(1, superseded), by(2, deployed), askedFor(3, 1, goingBack, &me)}, 0, "2 to 1, discard 3"},
		{"this very work, interrupted between Helm's two records", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, goingBack, &me)}, 0, "2 to 1, discard 3"},
		{"this very work, failed and not told", releases{by(1, superseded), by(2, deployed), askedFor(3, 1, failed, &me)}, 0, "2 to 1, discard 3"},
		{"this very work, interrupted after the oldest was dropped", releases{by(2, superseded), by(3, deployed), askedFor(4, 1, goingBack, &me)}, 1, "3 to 1 by 4, mark failed"},
		{"the same, interrupted again", releases{by(3, deployed), askedFor(4, 1, failed, &me), askedFor(5, 4, goingBack, &me)}, 1, "4 to 1 by 5, mark failed"},
		{"the same, done", releases{by(3, superseded), askedFor(4, 1, failed, &me), askedFor(5, 4, deployed, &me)}, 1, "4 to 1, adopt 5"},
		{"this very work, interrupted, and a rollout since", releases{by(1, superseded), by(2, superseded), askedFor(3, 1, failed, &me), by(4, deployed)}, 0, "which others deployed after this rollback was interrupted"},

		{"an earlier run's upgrade interrupted", releases{by(1, superseded), by(2, deployed), by(3, upgrading)}, 0, "3 to 2, mark failed"},
		{"an earlier run's upgrade interrupted, to a named one", releases{by(1, superseded), by(2, deployed), by(3, upgrading)}, 1, "3 to 1, mark failed, restore 2"},
		{"an earlier run's rollback interrupted", releases{by(1, superseded), by(2, deployed), askedFor(3, 1, goingBack, &asker)}, 0, "3 to 1, mark failed, restore 2"},

		{"nothing there", nil, 0, "There is no release shop in namespace tks"},
		{"the only one", releases{by(1, deployed)}, 0, "no revision that ran before what it is at now, revision 1. There is no other that ran."},
		{"the only one that ran", releases{by(1, superseded), by(2, failed), rolledBack(3, 1, deployed, &deployer)}, 0, "no revision that ran before"},
		{"only failed ones", releases{by(1, failed), by(2, failed)}, 0, "no revision that ran before"},
		{"what runs", two, 2, "Revision 2 of release shop in namespace tks is what runs already. Revision 1 can be named instead."},
		{"not there", two, 9, "has no revision 9. Revision 1 can be named instead."},
		{"below nothing", two, -1, "has no revision -1"},
		{"failed", releases{by(1, superseded), by(2, failed), by(3, superseded), by(4, deployed)}, 2, "Revision 2 of release shop in namespace tks never ran: it is failed. Revisions 3 and 1 can be named instead."},
		{"failed, and called superseded since", releases{by(1, superseded), described(by(2, superseded), `Upgrade "shop" failed: context deadline exceeded`), by(3, deployed)}, 2, "never ran"},
		{"interrupted, and called superseded since", releases{by(1, superseded), described(by(2, superseded), "Interrupted: the rollout …"), by(3, deployed)}, 0, "3 to 1"},
		{"another repository's", releases{rev(1, superseded, &other), rev(2, deployed, &other)}, 0, "belongs to repository acme_other (ID 8)"},
		{"pending by hand", releases{by(1, superseded), by(2, deployed), rev(3, upgrading, nil)}, 0, "is pending-upgrade since"},
		{"rolled back by hand at this moment", releases{by(1, superseded), by(2, deployed), rev(3, goingBack, nil)}, 2, "is pending-rollback since"},
		{"own installation interrupted", releases{by(1, common.StatusPendingInstall)}, 0, "no revision that ran before"},
		{"uninstalled", releases{by(1, superseded), by(2, common.StatusUninstalled)}, 1, "was uninstalled"},
		{"unknown", releases{by(1, superseded), by(2, common.StatusUnknown)}, 1, `in the state "unknown"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := decideRollback(tc.history, me, "tks", "shop", tc.revision)
			if p.failure != nil {
				if !strings.Contains(p.failure.Sentence, tc.want) {
					t.Errorf("refused: %s; want %q", p.failure.Sentence, tc.want)
				}
				return
			}
			if got := p.String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// String writes a plan down for the tests.
func (p rollbackPlan) String() string {
	s := fmt.Sprintf("%d to %d", p.from, p.goal)
	if p.target != nil && p.target.Version != p.goal {
		s += fmt.Sprintf(" by %d", p.target.Version)
	}
	if p.adopt != nil {
		s += fmt.Sprintf(", adopt %d", p.adopt.Version)
	}
	if p.overtaken {
		s += " overtaken"
	}
	if p.discard != nil {
		s += fmt.Sprintf(", discard %d", p.discard.Version)
	}
	if p.markFailed {
		s += ", mark failed"
	}
	if p.restore > 0 {
		s += fmt.Sprintf(", restore %d", p.restore)
	}
	return s
}

func TestRevisionsAreToldAndBounded(t *testing.T) {
	var history []*release.Release
	for n := range 14 {
		rel := rev(n+1, common.StatusSuperseded, nil)
		rel.Chart = &chart.Chart{Metadata: &chart.Metadata{Name: "shop", Version: fmt.Sprintf("1.0.%d", n), AppVersion: "2\x1b[31m"}}
		history = append(history, rel)
	}
	history[13].Info.Status = common.StatusDeployed
	history[12].Info.Status = common.StatusFailed
	f := decideRollback(history, testOwner(), "tks", "shop", 99).failure
	if f == nil || f.Reason != ReasonNoRevision || len(f.Revisions) != maxRevisionsTold {
		t.Fatalf("%+v", f)
	}
	newest, bad, good := f.Revisions[0], f.Revisions[1], f.Revisions[2]
	if newest.Number != 14 || newest.Status != "deployed" || newest.CanRunAgain || bad.CanRunAgain || !good.CanRunAgain {
		t.Errorf("%+v", f.Revisions)
	}
	if good.Chart != "shop-1.0.11" || good.AppVersion != "2[31m" {
		t.Errorf("%+v", good)
	}
	if !strings.Contains(f.Sentence, "has no revision 99. Revisions 12, 11, 10, 9, 8, 7, 6 and 5 can be named instead.") {
		t.Error(f.Sentence)
	}
}

// A rollback that was asked for belongs to who asked; what runs again keeps its commit.
func TestStampRollback(t *testing.T) {
	deployer, asker := testOwner(), testOwner()
	deployer.SHA, asker.Run, asker.Job = strings.Repeat("cd", 20), "run-9", "back"
	target := rev(1, common.StatusSuperseded, &deployer)
	back := rev(3, common.StatusPendingRollback, nil)
	back.Info.RollbackRevision, back.Labels = 1, target.Labels
	asker.stampRollback(back)
	if !asker.requestedRollback(back) || deployer.requestedRollback(back) || deployer.sameWork(back) {
		t.Errorf("labels %v", back.Labels)
	}
	if back.Labels[labelSHA] != deployer.SHA || target.Labels[labelRun] != deployer.Run {
		t.Errorf("labels %v, those of the target %v", back.Labels, target.Labels)
	}
	// A rollout does not take it for its own.
	asker.Attempt = 1
	if p := decide([]*release.Release{target, back}, asker, "tks", "shop"); p.step == stepAdopt {
		t.Error("a rollout adopts a rollback")
	}
	// What Helm copies of it is nobody's rollback.
	copied := rev(4, common.StatusDeployed, nil)
	copied.Info.RollbackRevision, copied.Labels = 3, back.Labels
	deployer.stamp(copied)
	if asker.requestedRollback(copied) || copied.Labels[labelRollback] != "3" {
		t.Errorf("labels %v", copied.Labels)
	}
}
