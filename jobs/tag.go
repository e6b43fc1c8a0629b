package jobs

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxExtraTags is how many tags a pipeline may add to a build's: all tags together must fit into a result's outputs.
const MaxExtraTags = 5

// tagForm is a tag in the grammar of github.com/distribution/reference.
var tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// CheckExtraTag says why a pipeline can't add a tag to a build's, or "".
func CheckExtraTag(tag string) string {
	low := strings.ToLower(tag)
	switch {
	case !tagForm.MatchString(tag):
		return fmt.Sprintf("%q can't be an image tag: write at most 128 letters, digits, _ . and -, not beginning with . or -", Cut(tag, 80))
	case strings.HasPrefix(low, "sha-"), strings.HasPrefix(low, "pr-"):
		return fmt.Sprintf("the tag %q is reserved: Slipway sets sha-… and pr-… itself", tag)
	}
	return ""
}
