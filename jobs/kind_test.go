package jobs_test

import (
	"path"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestAllows(t *testing.T) {
	match := func(pattern, name string) bool { ok, err := path.Match(pattern, name); return ok && err == nil }
	for _, c := range []struct {
		patterns []string
		name     string
		want     bool
	}{
		{nil, "a", false},
		{[]string{"a"}, "a", true},
		{[]string{"*", "!secret"}, "secret", false},
		{[]string{"*", "!secret"}, "other", true},
		{[]string{"!secret", "*"}, "secret", true}, // the last one decides
		{[]string{"!secret"}, "other", false},
	} {
		if got := jobs.Allows(match, c.patterns, c.name); got != c.want {
			t.Errorf("%v allow %s: %v", c.patterns, c.name, got)
		}
	}
}
