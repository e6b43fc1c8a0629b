package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/web"
)

// An expectation is a promise of a step, and what must be seen for it to be kept.
type expectation struct {
	says string
	met  func(evidence) error // nil when it is
}

// evidence is what was seen of a step.
type evidence struct {
	*story
	cause         cause
	run           web.Run
	github        githubFacts
	before, after scene
}

func (st *story) isRolledOut() []expectation {
	return []expectation{
		checksAre("slipway / image: success", "slipway / rollout: success", "slipway: success"),
		{"the image is pushed as latest and sha-<12>, the same for both", func(e evidence) error {
			return e.pushed("latest", "sha-"+e.cause.sha[:12])
		}},
		{"the chart's hook Job has prepared the schema before the Deployment is made", func(e evidence) error {
			if sentence, ok := e.cluster.hook.says(); !ok {
				return errors.New(sentence)
			}
			return nil
		}},
		{"revision 1 of " + namespace + "/" + release + " is deployed", func(e evidence) error {
			if r, err := e.after.cluster.deployed(); err != nil || r.Number != 1 {
				return fmt.Errorf("the revisions are %v", e.after.cluster.Revisions)
			}
			return nil
		}},
		{"its pods run that very image by digest and are ready", func(e evidence) error {
			e.good = e.after.registry.Tags["latest"]
			return e.after.cluster.serving(e.after.registry.Image, e.good)
		}},
	}
}

func (st *story) isOnlyBuilt() []expectation {
	return []expectation{
		checksAre("slipway: success"),
		{"the image is pushed as " + featureTag + " and pr-<n>", func(e evidence) error {
			return e.pushed(featureTag, fmt.Sprintf("pr-%d", e.cause.pull))
		}},
		nothingRolledOut,
	}
}

func (st *story) isGreeted() []expectation {
	return []expectation{
		checksAre("greet: success", "slipway / greet: success", "slipway: success"),
		{"the workflow was started once, with just these inputs", func(e evidence) error {
			runs := e.stage.repo.WorkflowRuns()
			if len(runs) != 1 {
				return fmt.Errorf("there are %d runs of workflows", len(runs))
			}
			if want := (map[string]string{"greeting": hail, "name": "alice"}); !maps.Equal(runs[0].Inputs(), want) {
				return fmt.Errorf("the inputs are %q", runs[0].Inputs())
			}
			return nil
		}},
		{"the check slipway / greet shows the workflow's jobs and steps, and the job has what it left as an output", func(e evidence) error {
			c, err := e.github.check("slipway / greet")
			if err == nil && (!strings.Contains(c.text, "Greet") || !strings.Contains(c.text, "/actions/runs/")) {
				err = fmt.Errorf("it says:\n%s", c.text)
			}
			if err != nil {
				return err
			}
			for _, j := range e.run.Jobs {
				if said, _ := j.Outputs["said"].(string); strings.HasPrefix(said, "Welcome back") && strings.HasSuffix(said, ", alice!") {
					return nil
				}
			}
			return errors.New("no job of the run has the output said")
		}},
		nothingPushed, nothingRolledOut,
	}
}

func (st *story) pointsAtTheLine() []expectation {
	return []expectation{
		checksAre("slipway / image: failure", "slipway / rollout: skipped", "slipway: failure"),
		{fmt.Sprintf("the check slipway / image has an annotation on line %d of the Dockerfile", st.line), func(e evidence) error {
			c, err := e.github.check("slipway / image")
			if err != nil {
				return err
			}
			for _, a := range c.Annotations {
				if strings.HasPrefix(a, fmt.Sprintf("Dockerfile:%d: ", st.line)) {
					return nil
				}
			}
			return fmt.Errorf("its annotations are %q", c.Annotations)
		}},
		nothingPushed, nothingRolledOut,
	}
}

func (st *story) isRolledBack() []expectation {
	return []expectation{
		checksAre("slipway / image: success", "slipway / rollout: failure", "slipway: failure"),
		{"the check slipway / rollout quotes the pod's last words", func(e evidence) error {
			c, err := e.github.check("slipway / rollout")
			if err == nil && !strings.Contains(c.text, lastWords) {
				err = fmt.Errorf("it says:\n%s", c.text)
			}
			return err
		}},
		{"the image that crashes is pushed as latest and sha-<12>", func(e evidence) error {
			return e.pushed("latest", "sha-"+e.cause.sha[:12])
		}},
		{"the release is rolled back: revision 2 failed, revision 3 is deployed and is revision 1 again", func(e evidence) error {
			revisions := e.after.cluster.Revisions
			if r, err := e.after.cluster.deployed(); err != nil || r.Number != 3 || !slices.Contains(revisions, revision{2, "failed"}) {
				return fmt.Errorf("the revisions are %v", revisions)
			}
			return nil
		}},
		{"pods of the first push's image are ready, and no others are left", func(e evidence) error {
			return e.after.cluster.serving(e.after.registry.Image, e.good)
		}},
	}
}

func (st *story) isHeld() []expectation {
	return []expectation{
		checksAre("slipway: action_required"),
		{"the check says that the pull request is held, and what next", func(e evidence) error {
			c, err := e.github.check("slipway")
			if err == nil && (!strings.HasPrefix(c.Title, "Held") || !strings.Contains(c.text, "Nothing was built") || !strings.Contains(c.text, "What next")) {
				err = fmt.Errorf("it says:\n%s", c.text)
			}
			return err
		}},
		{"no job is worked on, and its code is not even fetched", func(e evidence) error {
			for _, j := range e.run.Jobs {
				if !j.Started.IsZero() || !j.Claimed.IsZero() || j.Worker != "" {
					return fmt.Errorf("job %s is %s", j.Name, j.State)
				}
			}
			if n := e.stage.github.CountRequests(func(r githubtest.Request) bool { return r.Operation == "archive" }); n > 0 {
				return fmt.Errorf("archives were fetched %d times", n)
			}
			return nil
		}},
		nothingPushed, nothingRolledOut,
	}
}

// checksAre promises that exactly these checks are on the commit, each written as "NAME: CONCLUSION".
func checksAre(checks ...string) expectation {
	return expectation{"checks " + strings.Join(checks, ", "), func(e evidence) error {
		var shown []string
		for _, c := range e.github.Checks {
			shown = append(shown, c.Name+": "+c.Conclusion)
		}
		slices.Sort(shown)
		if !slices.Equal(shown, checks) {
			return fmt.Errorf("they are %s", strings.Join(shown, ", "))
		}
		return nil
	}}
}

// pushed is an error unless these tags name one image that was not there before, and the other tags are as they were.
func (e evidence) pushed(tags ...string) error {
	want := maps.Clone(e.before.registry.Tags)
	digest := e.after.registry.Tags[tags[0]]
	for _, tag := range tags {
		want[tag] = digest
	}
	for _, known := range e.before.registry.Tags {
		if known == digest {
			return fmt.Errorf("%s is an image that was there before", tags[0])
		}
	}
	if digest == "" || !maps.Equal(want, e.after.registry.Tags) {
		return fmt.Errorf("the tags are %v, and were %v", e.after.registry.Tags, e.before.registry.Tags)
	}
	return nil
}

var nothingPushed = expectation{"no image is pushed", func(e evidence) error {
	if !maps.Equal(e.before.registry.Tags, e.after.registry.Tags) {
		return fmt.Errorf("the tags are %v, and were %v", e.after.registry.Tags, e.before.registry.Tags)
	}
	return nil
}}

var nothingRolledOut = expectation{"the release is as it was, to the pod", func(e evidence) error {
	before, after := e.before.cluster, e.after.cluster
	if !slices.Equal(before.Revisions, after.Revisions) || !slices.Equal(before.Pods, after.Pods) {
		return fmt.Errorf("the revisions are %v and were %v; the pods are %v and were %v", after.Revisions, before.Revisions, after.Pods, before.Pods)
	}
	return nil
}}
