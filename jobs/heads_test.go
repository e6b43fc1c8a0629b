package jobs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func (s *shore) Installations(context.Context) ([]jobs.Installation, error) {
	return s.installations, nil
}

func (s *shore) Mode(repo jobs.Repository) jobs.Mode {
	if mode := s.mode[repo.ID]; mode != "" {
		return mode
	}
	return jobs.ModeRun
}

func (s *shore) Repositories(_ context.Context, installation int64, each func(jobs.Repository) error) error {
	for _, repo := range s.repositories[installation] {
		if err := each(repo); err != nil {
			return err
		}
	}
	return nil
}

func (s *shore) Heads(_ context.Context, installation int64, repo jobs.Repository) (heads []jobs.Head, err error) {
	s.looked++
	if err := s.headTrouble[repo.ID]; err != nil {
		return nil, err
	}
	for _, h := range s.heads[repo.ID] {
		h.Installation, h.Repository = installation, repo
		heads = append(heads, h)
	}
	return heads, nil
}

func (s *shore) Delivery(_ context.Context, head jobs.Head, action string) (jobs.Delivery, error) {
	if head.Number == 404 {
		return jobs.Delivery{}, &jobs.Gone{Reason: "merged by now"}
	}
	s.fetched = append(s.fetched, strings.TrimSpace(head.Ref+" "+head.SHA[:1]+" "+action))
	return jobs.Delivery{GUID: head.GUID(), Event: "push", Received: s.now, Body: []byte(`{}`)}, nil
}

// repository adds one to the installation 3.
func (s *shore) repository(id int64, heads ...jobs.Head) {
	s.repositories[3] = append(s.repositories[3], jobs.Repository{ID: id, Owner: "acme", Name: "shop", DefaultBranch: "main"})
	s.heads[id] = heads
}

func branchHead(sha string) jobs.Head {
	return jobs.Head{Ref: "refs/heads/main", SHA: strings.Repeat(sha, 40)}
}
func tagHead(name, sha string) jobs.Head {
	return jobs.Head{Ref: "refs/tags/" + name, SHA: strings.Repeat(sha, 40)}
}
func pullHead(number int, sha string, updated time.Time) jobs.Head {
	return jobs.Head{Ref: jobs.PullRef(number), SHA: strings.Repeat(sha, 40), Number: number, Updated: updated}
}

// look compares once and returns what deliveries were made of, and when to look again.
func (s *shore) look() ([]string, time.Duration) {
	s.fetched, s.looked = nil, 0
	again := s.Reconcile(s.t.Context())
	return s.fetched, again
}

// decide notes a decision about a head as the planner does.
func (s *shore) decide(repo int64, h jobs.Head) {
	s.t.Helper()
	if _, err := s.Refs.Create(s.t.Context(), jobs.RefKey(repo, h.Ref), jobs.RefRecord{SHA: h.SHA, Outcome: jobs.OutcomeRun}); err != nil {
		s.t.Fatal(err)
	}
}

func TestReconcile(t *testing.T) {
	s := newShore(t)
	s.repository(5, branchHead("a"), tagHead("v1", "a"), pullHead(7, "b", noon))
	s.repository(6)
	s.mode[6] = jobs.ModeOff
	if got, again := s.look(); len(got)+s.looked > 0 || again != time.Hour {
		t.Errorf("before begin: %v, %d looked at, again in %s", got, s.looked, again)
	}
	s.begin(noon)
	// What is there at first is no news.
	got, again := s.look()
	s.want(got)
	if s.looked != 1 || again != time.Hour {
		t.Errorf("%d repositories were looked at, again in %s", s.looked, again)
	}
	s.now = noon.Add(30 * time.Minute)
	s.look()
	if s.looked != 0 {
		t.Error("everything was looked at again within the hour")
	}

	// Five tags at once and a pull request that GitHub sent nothing about, and a push that was decided about.
	s.now = noon.Add(time.Hour)
	s.heads[5] = []jobs.Head{branchHead("c"), tagHead("v1", "a"), tagHead("v2", "c"), tagHead("v3", "c"), tagHead("v4", "c"), tagHead("v5", "c"), tagHead("v6", "c"), pullHead(7, "d", noon), pullHead(404, "e", noon)}
	s.decide(5, branchHead("c"))
	s.decide(5, pullHead(7, "b", noon))
	got, again = s.look()
	s.want(got) // their deliveries may be on their way
	if again != 10*time.Minute {
		t.Errorf("again in %s", again)
	}
	s.now = s.now.Add(9 * time.Minute)
	got, _ = s.look()
	s.want(got)
	if _, err := jobs.Change(t.Context(), s.Refs, jobs.RefKey(5, "refs/pull/7/head"), func(*jobs.RefRecord) error { return jobs.ErrUnchanged }); err != nil {
		t.Fatal(err)
	}
	s.decide(5, tagHead("v2", "c")) // it came after all
	s.now = s.now.Add(time.Minute)
	got, again = s.look()
	s.want(got, "refs/tags/v3 c", "refs/tags/v4 c", "refs/tags/v5 c", "refs/tags/v6 c", "refs/pull/7/head d synchronize")
	if again != time.Hour {
		t.Errorf("again in %s", again)
	}
	for range 2 { // also by the next leader
		s.now = s.now.Add(time.Hour)
		got, again = s.look()
		s.want(got)
		if again != time.Hour {
			t.Errorf("again in %s", again)
		}
		next := newShore(t)
		next.Recovery.Meta, next.Refs, next.Seen, next.Requests, next.Accept = s.Meta, s.Refs, s.Seen, s.Requests, s.Accept
		next.repositories, next.heads, next.mode, next.now = s.repositories, s.heads, s.mode, s.now
		s = next
	}
}

func TestReconcileANewPullRequest(t *testing.T) {
	s := newShore(t)
	s.begin(noon)
	s.repository(5, branchHead("a"))
	s.look()
	s.heads[5] = append(s.heads[5], pullHead(8, "b", noon))
	s.now = noon.Add(time.Hour)
	s.look()
	s.now = s.now.Add(10 * time.Minute)
	got, _ := s.look()
	s.want(got, "refs/pull/8/head b opened")
	if s.recovered["heads"] != 1 {
		t.Errorf("told of %v", s.recovered)
	}
}

// After the operator asked to recover, pull requests updated since count although their repository is met for the first time.
func TestReconcileAfterRecover(t *testing.T) {
	s := newShore(t)
	s.begin(noon.Add(-100 * time.Hour))
	s.ask(noon.Add(-100 * time.Hour))
	s.repository(5, branchHead("a"), pullHead(7, "b", noon.Add(-101*time.Hour)), pullHead(8, "c", noon.Add(-99*time.Hour)), pullHead(9, "d", noon))
	s.decide(5, pullHead(9, "d", noon)) // from the log, in the meantime
	s.look()
	s.now = noon.Add(10 * time.Minute)
	got, _ := s.look()
	s.want(got, "refs/pull/8/head c opened")

	// The request is an answer to what was lost then: a repository that comes a day later is met as usual.
	s.now = noon.Add(25 * time.Hour)
	s.repository(6, pullHead(1, "e", noon))
	s.look()
	s.now = s.now.Add(10 * time.Minute)
	got, _ = s.look()
	s.want(got)
}

func TestReconcileTrouble(t *testing.T) {
	s := newShore(t)
	s.begin(noon)
	s.installations = append(s.installations, jobs.Installation{ID: 4})
	s.repository(5, branchHead("a"))
	s.repository(6, branchHead("a"))
	s.repository(7, branchHead("a"))
	s.repositories[4] = []jobs.Repository{{ID: 8, Owner: "other", Name: "one", DefaultBranch: "main"}}
	s.headTrouble[5] = &jobs.Gone{Reason: "deleted"}
	s.headTrouble[6] = errors.New("a strange answer")
	got, again := s.look()
	s.want(got)
	if s.looked != 4 || again != 10*time.Minute {
		t.Errorf("%d were looked at, again in %s", s.looked, again)
	}
	// Only what had trouble is looked at again.
	delete(s.headTrouble, 6)
	s.now = noon.Add(10 * time.Minute)
	if _, again = s.look(); s.looked != 1 || again != time.Hour {
		t.Errorf("%d were looked at, again in %s", s.looked, again)
	}
	// A limit ends an installation's turn, and nobody else's.
	s.headTrouble[6] = &jobs.Later{After: 20 * time.Minute, Reason: "the limit"}
	s.now = noon.Add(time.Hour)
	if _, again = s.look(); s.looked != 3 || again != 20*time.Minute {
		t.Errorf("%d were looked at, again in %s", s.looked, again)
	}
	delete(s.headTrouble, 6)
	s.now = s.now.Add(20 * time.Minute)
	if _, again = s.look(); s.looked != 3 || again != time.Hour {
		t.Errorf("%d were looked at, again in %s", s.looked, again)
	}
}

// What was only observed is decided about, too, and no delivery is made of it.
func TestObservedHeadsAreNotMissed(t *testing.T) {
	w := newTown(t)
	w.mode = jobs.ModeObserve
	p := w.planner()
	push := w.push("a")
	w.deliver("guid-push-1", push)
	d, err := w.q.Delivery(t.Context(), "guid-push-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Handle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	s := newShore(t)
	s.Refs = p.Refs
	s.begin(noon)
	s.repository(5)
	s.look()
	s.heads[5] = []jobs.Head{branchHead("a")}
	for range 3 {
		s.now = s.now.Add(time.Hour)
		got, again := s.look()
		s.want(got)
		if again != time.Hour {
			t.Errorf("again in %s", again)
		}
	}
}

func TestHeadsGUID(t *testing.T) {
	h := branchHead("a")
	h.Repository.ID = 5
	other := h
	other.Repository.ID = 6
	same := h
	if !jobs.ValidGUID(h.GUID()) || h.GUID() != same.GUID() || h.GUID() == other.GUID() || len(h.GUID()) != 36 || h.GUID()[14] != '8' {
		t.Errorf("%s, %s", h.GUID(), other.GUID())
	}
}
