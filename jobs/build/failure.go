package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	solverrors "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/slipway-ci/slipway/jobs"
	"google.golang.org/grpc/codes"
)

// A fault is a failure of theirs as an error, with its result ready.
type fault struct{ result jobs.Result }

func (f *fault) Error() string { return f.result.Summary }

// theirs returns the result of an error that is final; ok is false for an error of ours.
func theirs(err error) (result jobs.Result, ok bool) {
	var f *fault
	if errors.As(err, &f) {
		return f.result, true
	}
	var no *jobs.Refusal
	if errors.As(err, &no) {
		r := jobs.Result{Conclusion: jobs.Failure, Summary: no.Sentence}
		if no.Cause != nil {
			r.Cause = no.Cause.Error()
		}
		return r, true
	}
	return jobs.Result{}, false
}

// oursText are traces in an error's text of trouble that a second try may not meet. BuildKit carries most errors as
// text; a step's own failure never gets here, whatever it printed.
var oursText = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`connection refused`, `connection reset`, `broken pipe`, `no route to host`, `network is unreachable`,
	`i/o timeout`, `tls handshake timeout`, `server misbehaving`, `temporary failure in name resolution`,
	`unexpected eof`, `error reading from server`, `transport is closing`, `connection closed`,
	`(status|status code|from \w+ request)\W[^\n]*\b(429|5\d\d)\b`, `\b(429 too many requests|50[0234] [a-z ]+)`, `toomanyrequests`,
	`no space left on device`, `too many open files`, `read-only file system`, `cannot allocate memory`,
	`failed to (prepare|mount|create|commit) \S*snapshot`, `/snapshots/\S+: `,
	`no active session`, `session [^\n]*not found`, `context canceled`, `context deadline exceeded`, `operation was canceled`,
	regexp.QuoteMeta(errRegistryDown.Error()),
}, "|"))

// orphaned is how BuildKit speaks of a snapshot's folder that a crash left behind.
var orphaned = regexp.MustCompile(`failed to rename: rename \S+/snapshots/\S+ \S+: file exists`)

var (
	pushFailed    = regexp.MustCompile(`failed to push (\S+): (.*)`)
	deniedText    = regexp.MustCompile(`(?i)\b(401|403|unauthorized|forbidden|denied|insufficient_scope|authorization failed|no basic auth credentials)\b`)
	baseMissing   = regexp.MustCompile(`failed to resolve source metadata for (\S+): .*not found`)
	baseDenied    = regexp.MustCompile(`failed to resolve source metadata for (\S+): .*(denied|unauthorized|forbidden|insufficient_scope|authorization failed|40[13])`)
	sourceMissing = regexp.MustCompile(`failed to calculate checksum of ref [^:]+(?:::[^:]*)?: (?:[^"]*: )?"?([^"]+)"?: not found`)
	lstatMissing  = regexp.MustCompile(`lstat (\S+): no such file or directory`)
	entitlement   = regexp.MustCompile(`(network\.host|security\.insecure|device) is not allowed|granting entitlement (\S+) is not allowed`)
	secretMissing = regexp.MustCompile(`secret (\S+): not found`)
	sshMissing    = regexp.MustCompile(`(?i)no SSH key "?([^"]*?)"? forwarded|SSH agent|ssh .*not (?:found|supported)|sshforward`)
	rpcPrefix     = regexp.MustCompile(`rpc error: code = \w+ desc = `)
	parsePrefix   = regexp.MustCompile(`^dockerfile parse error(?: on line \d+)?: `)
)

// explainSolve draws the line for an error of a solve: a result when the fault lies in what the commit holds or asks
// for, an error when it is ours. A doubt falls to ours, unless BuildKit points at a line of the Dockerfile.
func explainSolve(err error, r recipe, f *files, p *progress, clean func(string) string) (jobs.Result, error) {
	text := clean(rpcPrefix.ReplaceAllString(strings.TrimPrefix(err.Error(), "failed to solve: "), ""))
	result := jobs.Result{Conclusion: jobs.Failure, Cause: text}
	place := f.dockerfile
	line, end := sourceLine(err)
	if line == 0 && entitlement.MatchString(text) { // BuildKit doesn't say where
		line, end = optionLine(f.text)
	}
	if line > 0 {
		place = fmt.Sprintf("%s line %d", f.dockerfile, line)
		result.Annotations = []jobs.Annotation{{Path: f.dockerfile, Line: line, EndLine: end, Level: "failure", Title: "Build failed"}}
	}
	var vertex string
	var ve *solverrors.VertexError
	if errors.As(err, &ve) {
		vertex = ve.GetDigest()
	}
	st := p.failed(vertex)

	var exit *gwpb.ExitError
	if errors.As(err, &exit) && !broughtDown(err, text) {
		result.Summary = explainExit(exit.ExitCode, place, st)
		if st != nil {
			result.Tail = st.lastLines()
		}
		return annotated(result), nil
	}
	if deny := policysession.DenyMessages(err); len(deny) > 0 {
		result.Summary = fmt.Sprintf("%s: %s", place, clean(deny[0].GetMessage()))
		return annotated(result), nil
	}
	if m := pushFailed.FindStringSubmatch(text); m != nil && !oursText.MatchString(text) && deniedText.MatchString(m[2]) {
		result.Summary = pushDenied(r)
		return result, nil
	}
	if isOurs(err, text) || (len(result.Annotations) == 0 && !known(text)) {
		return jobs.Result{}, fmt.Errorf("build %s: %s", r.image, text)
	}
	result.Summary = place + ": " + sentence(text, r, lineOf(f.text, line))
	return annotated(result), nil
}

// broughtDown reports whether a step ended because BuildKit itself did. The text before its end quotes the step's
// command, so it proves nothing.
func broughtDown(err error, text string) bool {
	c := grpcerrors.Code(err)
	return c == codes.Unavailable || c == codes.Canceled || strings.HasSuffix(text, "context canceled")
}

// isOurs recognizes trouble that has nothing to do with what is built.
func isOurs(err error, text string) bool {
	switch grpcerrors.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.ResourceExhausted:
		return true
	}
	return oursText.MatchString(text)
}

// known reports whether an error without a place in the Dockerfile is recognized as theirs nevertheless.
func known(text string) bool {
	for _, re := range []*regexp.Regexp{baseMissing, baseDenied, sourceMissing, entitlement, secretMissing, parsePrefix} {
		if re.MatchString(text) {
			return true
		}
	}
	return strings.Contains(text, "target stage") || strings.Contains(text, "failed to parse platform")
}

// sentence says what went wrong and what to do, for the errors people meet; others keep BuildKit's own words.
func sentence(text string, r recipe, instruction string) string {
	if m := entitlement.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("the step asks for %s, which builds here are never given: remove that option", m[1]+m[2])
	}
	if m := secretMissing.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("the step requires the secret %q, and builds here are given no secrets: build without it", m[1])
	}
	if m := baseMissing.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("image %s was not found: correct its name, or push it first", m[1])
	}
	if m := baseDenied.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("image %s may not be read: it doesn't exist, or builds of this repository are not let in; whoever runs Slipway can grant it with the registry's `pull` in config.yaml", m[1])
	}
	m := sourceMissing.FindStringSubmatch(text)
	if m == nil {
		m = lstatMissing.FindStringSubmatch(text)
	}
	if m != nil && strings.Contains(instruction, "--from=") {
		return fmt.Sprintf("%s is not in the stage or image it is copied from: correct the path, or make it there", m[1])
	} else if m != nil {
		return fmt.Sprintf("%s is not in the build context (folder %s, without what .dockerignore leaves out): add it, or correct the path", m[1], r.context)
	}
	if sshMissing.MatchString(text) {
		return "the step asks for an SSH agent, and builds here are given none: build without it"
	}
	return strings.Join(strings.Fields(parsePrefix.ReplaceAllString(text, "")), " ")
}

var (
	stageForm = regexp.MustCompile(`^\[[^\]]*\] *`)
	flagForm  = regexp.MustCompile(`^(RUN|COPY|ADD)( +--[a-z]+(=\S+)?)+ `)
)

// command is a step as its Dockerfile says it, without the stage and the instruction's flags.
func command(step string) string {
	text := flagForm.ReplaceAllString(stageForm.ReplaceAllString(step, ""), "$1 ")
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "`", "'")
	return jobs.Cut(text, 250)
}

func explainExit(code uint32, place string, st *step) string {
	what := "a step"
	if st != nil && st.name != "" {
		what = "`" + command(st.name) + "`"
	}
	if code == 137 { // 128 + SIGKILL
		return fmt.Sprintf("%s: %s was killed (exit code 137), most likely because it ran out of memory", place, what)
	}
	return fmt.Sprintf("%s: %s failed with exit code %d", place, what, code)
}

func pushDenied(r recipe) string {
	return fmt.Sprintf("registry %s refused the push of %s: whoever runs Slipway must let the account under registries.%s in config.yaml push it", r.host, r.image, r.host)
}

// annotated gives the annotation the summary's words, without the place it stands at.
func annotated(r jobs.Result) jobs.Result {
	for i := range r.Annotations {
		msg := r.Summary
		if _, rest, ok := strings.Cut(msg, ": "); ok && strings.HasPrefix(msg, r.Annotations[i].Path) {
			msg = rest
		}
		if len(r.Tail) > 0 {
			msg += "\n\n" + strings.Join(r.Tail[max(0, len(r.Tail)-8):], "\n")
		}
		r.Annotations[i].Message = msg
	}
	return r
}

// sourceLine finds the lines of the Dockerfile that an error points at; 0 when it points at none.
func sourceLine(err error) (line, end int) {
	for _, s := range solverrors.Sources(err) {
		for _, r := range s.GetRanges() {
			if l := int(r.GetStart().GetLine()); l > 0 {
				return l, max(l, int(r.GetEnd().GetLine()))
			}
		}
	}
	return 0, 0
}

var entitled = regexp.MustCompile(`(?m)--(?:network=host|security=insecure|device=)`)

// optionLine finds the first option that needs an entitlement; 0 when there is none.
func optionLine(text []byte) (line, end int) {
	at := entitled.FindIndex(text)
	if at == nil {
		return 0, 0
	}
	line = 1 + bytes.Count(text[:at[0]], []byte("\n"))
	return line, line
}

// lineOf returns a line of the Dockerfile, from 1; empty when there is none.
func lineOf(text []byte, line int) string {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return lines[line-1]
}

// explainRegistry draws the line for an error of our own exchange with a registry.
func explainRegistry(err error, r recipe, clean func(string) string) (jobs.Result, error) {
	var te *transport.Error
	if errors.As(err, &te) && (te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden) {
		return jobs.Result{Conclusion: jobs.Failure, Summary: pushDenied(r), Cause: clean(err.Error())}, nil
	}
	if result, ok := theirs(err); ok {
		return result, nil
	}
	var later *jobs.Later
	if errors.As(err, &later) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return jobs.Result{}, err
	}
	return jobs.Result{}, errors.New(clean(err.Error()))
}
