package build

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

const sha = "0123456789abcdef0123456789abcdef01234567"

// tagForm is what registries take.
var tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func push(branch string) jobs.RunInfo {
	return jobs.RunInfo{ID: "r-x", Event: jobs.EventPush, SHA: sha, Ref: "refs/heads/" + branch, Branch: branch,
		Repository: jobs.Repository{ID: 7, Owner: "acme", Name: "shop", DefaultBranch: "main"},
		Trust:      jobs.Trust{Level: jobs.Trusted}}
}

func pushTag(tag string) jobs.RunInfo {
	r := push("")
	r.Ref, r.Tag = "refs/tags/"+tag, tag
	return r
}

func pull(n int, head string, fork bool) jobs.RunInfo {
	r := push(head)
	r.Event, r.PullRequest, r.Fork, r.Ref = jobs.EventPullRequest, n, fork, "refs/pull/7/head"
	return r
}

// group is a merge queue's head, whose branch is the queue's own.
func group() jobs.RunInfo {
	r := push("gh-readonly-queue/main/pr-7-" + sha)
	r.Event, r.BaseBranch = jobs.EventMergeGroup, "main"
	return r
}

func with(r jobs.RunInfo, change func(*jobs.RunInfo)) jobs.RunInfo {
	change(&r)
	return r
}

func TestTags(t *testing.T) {
	for _, c := range []struct {
		name              string
		run               jobs.RunInfo
		extra             []string
		immutable, moving []string
	}{
		{"default branch", push("main"), nil, []string{"sha-0123456789ab"}, []string{"latest"}},
		{"other branch", push("feature_x"), nil, []string{"sha-0123456789ab"}, []string{"feature_x"}},
		{"branch with a slash", push("feat/login"), nil, []string{"sha-0123456789ab"}, []string{"feat-login-" + hashOf("feat/login")}},
		{"branch as an issue's number", push("123-fix-login"), nil, []string{"sha-0123456789ab"}, []string{"123-fix-login"}},
		{"branch named latest", push("latest"), nil, []string{"sha-0123456789ab"}, []string{"latest-" + hashOf("latest")}},
		{"branch named Latest", push("Latest"), nil, []string{"sha-0123456789ab"}, []string{"Latest-" + hashOf("Latest")}},
		{"branch named pr-7", push("pr-7"), nil, []string{"sha-0123456789ab"}, []string{"pr-7-" + hashOf("pr-7")}},
		{"branch named like a commit", push("sha-0123456789ab"), nil, []string{"sha-0123456789ab"}, []string{"sha-0123456789ab-" + hashOf("sha-0123456789ab")}},
		{"branch like a version", push("v1.2.3"), nil, []string{"sha-0123456789ab"}, []string{"v1.2.3-" + hashOf("v1.2.3")}},
		{"branch like a line", push("1.2"), nil, []string{"sha-0123456789ab"}, []string{"1.2-" + hashOf("1.2")}},
		{"branch like a prerelease", push("1.2.3-rc.1"), nil, []string{"sha-0123456789ab"}, []string{"1.2.3-rc.1-" + hashOf("1.2.3-rc.1")}},
		{"branch like a hashed slug", push("x-0011aabb"), nil, []string{"sha-0123456789ab"}, []string{"x-0011aabb-" + hashOf("x-0011aabb")}},
		{"branch that injects", push("x,securityContext.privileged=true"), nil, []string{"sha-0123456789ab"},
			[]string{"x-securityContext.privileged-true-" + hashOf("x,securityContext.privileged=true")}},
		{"branch without a letter", push("ünï"), nil, []string{"sha-0123456789ab"}, []string{"n-" + hashOf("ünï")}},
		{"branch of symbols", push("#+#"), nil, []string{"sha-0123456789ab"}, []string{"ref-" + hashOf("#+#")}},
		{"pull request", pull(7, "topic", false), nil, nil, []string{"topic", "pr-7"}},
		{"fork", pull(7, "main", true), nil, nil, []string{"pr-7"}},
		{"release", pushTag("v1.2.3"), nil, nil, []string{"1.2.3", "1.2", "1"}},
		{"release without v", pushTag("1.2.3"), nil, nil, []string{"1.2.3", "1.2", "1"}},
		{"prerelease", pushTag("v1.2.3-rc.1"), nil, nil, []string{"1.2.3-rc.1"}},
		{"build metadata", pushTag("v1.2.3+b5"), nil, nil, []string{"v1.2.3-b5-" + hashOf("v1.2.3+b5")}},
		{"leading zero", pushTag("v01.2.3"), nil, nil, []string{"v01.2.3-" + hashOf("v01.2.3")}},
		{"short version", pushTag("v1.2"), nil, nil, []string{"v1.2-" + hashOf("v1.2")}},
		{"tag of words", pushTag("nightly"), nil, nil, []string{"nightly"}},
		{"merge queue", group(), nil, []string{"sha-0123456789ab"}, nil},
		{"extra", push("main"), []string{"edge", "latest", "edge"}, []string{"sha-0123456789ab"}, []string{"latest", "edge"}},
		{"extra on a branch", push("next"), []string{"edge"}, []string{"sha-0123456789ab"}, []string{"next", "edge"}},
		{"extra on a tag", pushTag("v1.2.3-rc.1"), []string{"edge"}, nil, []string{"1.2.3-rc.1", "edge"}},
		{"extra of a release", with(pushTag("v1.2.3"), func(r *jobs.RunInfo) { r.Event = jobs.EventRelease }), []string{"edge"}, nil, []string{"1.2.3", "1.2", "1", "edge"}},
		{"extra of a schedule", with(push("main"), func(r *jobs.RunInfo) { r.Event = jobs.EventSchedule }), []string{"nightly"},
			[]string{"sha-0123456789ab"}, []string{"latest", "nightly"}},
		{"extra asked for on a branch", with(push("main"), func(r *jobs.RunInfo) { r.Asked = &jobs.Asked{Command: "/build"} }), []string{"edge"},
			[]string{"sha-0123456789ab"}, []string{"latest", "edge"}},
		{"extra on a pull request", pull(7, "topic", false), []string{"latest", "nightly"}, nil, []string{"topic", "pr-7"}},
		{"extra asked for on a pull request", with(pull(7, "topic", false), func(r *jobs.RunInfo) { r.Asked = &jobs.Asked{Command: "/build"} }), []string{"edge"},
			nil, []string{"topic", "pr-7"}},
		{"extra on a merge queue's head", group(), []string{"latest", "nightly"}, []string{"sha-0123456789ab"}, nil},
		{"extra asked for on a merge queue's head", with(group(), func(r *jobs.RunInfo) { r.Event = jobs.EventPush }), []string{"edge"}, []string{"sha-0123456789ab"}, nil},
		{"extra of who is not trusted", with(pull(7, "main", true), func(r *jobs.RunInfo) { r.Trust.Level = jobs.Approved }), []string{"edge"}, nil, []string{"pr-7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			immutable, moving, err := Tags(c.run, c.extra)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(immutable, c.immutable) || !slices.Equal(moving, c.moving) {
				t.Errorf("got %q and %q, want %q and %q", immutable, moving, c.immutable, c.moving)
			}
		})
	}
}

func hashOf(name string) string {
	s := slug(name)
	return s[len(s)-slugHash:]
}

func TestTagsRefused(t *testing.T) {
	for _, c := range []struct{ name, tag, says string }{
		{"space", "a b", "can't be an image tag"},
		{"empty", "", "can't be an image tag"},
		{"colon", "x:y", "can't be an image tag"},
		{"leading dot", ".x", "can't be an image tag"},
		{"long", strings.Repeat("x", 129), "can't be an image tag"},
		{"commit's", "sha-000000000000", "reserved"},
		{"pull request's", "PR-1", "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Tags(push("main"), []string{c.tag})
			var no *jobs.Refusal
			if !errors.As(err, &no) || !strings.Contains(no.Sentence, c.says) {
				t.Errorf("got %v, want a refusal that says %q", err, c.says)
			}
		})
	}
	if _, _, err := Tags(pull(7, "topic", false), []string{"pr-1"}); err == nil {
		t.Error("what would be refused once it is merged was accepted before")
	}
	if _, _, err := Tags(push("main"), make([]string, jobs.MaxExtraTags+1)); err == nil {
		t.Error("too many extra tags were accepted")
	}
	r := push("main")
	r.SHA = "0123"
	if _, _, err := Tags(r, nil); err == nil {
		t.Error("a short SHA was accepted")
	}
}

func TestNewerOnLine(t *testing.T) {
	existing := []string{"1.2.3", "1.2.10", "1.3.0", "2.0.0-rc.1", "v1.9.9", "01.9.9", "latest", "1.2", "10.0.0"}
	for _, c := range []struct{ tag, line, want string }{
		{"1.2.4", "1.2", "1.2.10"},
		{"1.2.4", "1", "1.3.0"},
		{"1.2.11", "1.2", ""},
		{"1.2.11", "1", "1.3.0"},
		{"1.3.1", "1", ""},
		{"1.3.0", "1", ""},
		{"2.0.0", "2", ""},
		{"0.1.0", "0", ""},
	} {
		v, ok := parseRelease(c.tag)
		if !ok {
			t.Fatalf("%s is a release", c.tag)
		}
		if got := newerOnLine(v, c.line, existing); got != c.want {
			t.Errorf("%s on line %s: got %q, want %q", c.tag, c.line, got, c.want)
		}
	}
}

// FuzzSlug holds what tags rest on: every slug is a legal tag, is not one of ours, and two names share one only when
// they are the same name.
func FuzzSlug(f *testing.F) {
	for _, s := range []string{"main", "feat/x", "feat-x", "v1.2.3", "latest", "pr-1", "sha-0", "", "-", "..", "x-0011aabb", "é", "a b", "1.2.3-rc.1", strings.Repeat("long/", 60)} {
		f.Add(s, "feat-x")
		f.Add("feat/x", s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, name := range []string{a, b} {
			s := slug(name)
			if !tagForm.MatchString(s) {
				t.Fatalf("slug of %q is %q, which is no tag", name, s)
			}
			if s == name && (reserved(s) || looksLikeVersion.MatchString(s)) {
				t.Fatalf("slug of %q is the reserved %q", name, s)
			}
			if s != name && !hashEnd.MatchString(s) {
				t.Fatalf("slug of %q was changed to %q without a hash", name, s)
			}
		}
		if a != b && slug(a) == slug(b) {
			t.Fatalf("%q and %q share the slug %q", a, b, slug(a))
		}
	})
}
