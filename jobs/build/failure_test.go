package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/moby/buildkit/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	solverrors "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/jobs"
)

// onLine lets an error point at a line of the Dockerfile, as BuildKit does.
func onLine(line int32, err error) error {
	return solverrors.WithSource(err, &solverrors.Source{
		Info:   &pb.SourceInfo{Filename: "Dockerfile"},
		Ranges: []*pb.Range{{Start: &pb.Position{Line: line}, End: &pb.Position{Line: line + 1}}},
	})
}

func exit(code uint32) error {
	return &gwpb.ExitError{ExitCode: code, Err: fmt.Errorf(`process "/bin/sh -c x" did not complete successfully: exit code: %d`, code)}
}

// carried sends an error over gRPC and back, as it really arrives.
func carried(err error) error {
	return fmt.Errorf("failed to solve: %w", grpcerrors.FromGRPC(grpcerrors.ToGRPC(context.Background(), err)))
}

// TestExplainSolve is the line between theirs (a result) and ours (an error).
func TestExplainSolve(t *testing.T) {
	image := "registry.example.com/acme/shop"
	for _, c := range []struct {
		name string
		err  error
		says string // of the result; empty when the error is ours
		line int
	}{
		{"a step's exit code", onLine(3, exit(2)), "Dockerfile line 3: `RUN x` failed with exit code 2", 3},
		{"a step that ran out of memory", onLine(3, exit(137)), "was killed (exit code 137)", 3},
		{"a step whose output looks like our trouble", onLine(3, solverrors.WrapVertex(&gwpb.ExitError{ExitCode: 1, Err: errors.New("connection refused: exit code: 1")}, digest.FromString("run"))), "failed with exit code 1", 3},
		{"a step that exits with 255", onLine(3, exit(255)), "failed with exit code 255", 3},
		{"parse error", onLine(1, errors.New("dockerfile parse error on line 1: unknown instruction: FRMO (did you mean FROM?)")), "Dockerfile line 1: unknown instruction: FRMO (did you mean FROM?)", 1},
		{"policy", onLine(2, policysession.WrapDenyMessages(errors.New("not allowed by policy"), []*policysession.DenyMessage{{Message: "that is another team's image"}})), "Dockerfile line 2: that is another team's image", 2},
		{"unknown, with a line", onLine(9, errors.New("something new")), "Dockerfile line 9: something new", 9},
		{"base image missing", onLine(1, errors.New("library/x:1: failed to resolve source metadata for docker.io/library/x:1: docker.io/library/x:1: not found")), "image docker.io/library/x:1 was not found", 1},
		{"base image closed", onLine(1, errors.New("failed to resolve source metadata for docker.io/acme/x:1: pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed")), "image docker.io/acme/x:1 may not be read", 1},
		{"COPY source missing", onLine(4, errors.New(`failed to compute cache key: failed to calculate checksum of ref abc::def: "/x": not found`)), "/x is not in the build context", 4},
		{"target missing", errors.New(`target stage "x" could not be found`), `Dockerfile: target stage "x" could not be found`, 0},
		{"entitlement", errors.New("failed to load LLB: network.host is not allowed"), "Dockerfile line 2: the step asks for network.host", 2},
		{"push denied", errors.New("failed to push " + image + ": denied: requested access to the resource is denied"), "registry registry.example.com refused the push of " + image, 0},
		{"push unauthorized", errors.New("failed to push " + image + ": failed to authorize: no basic auth credentials"), "refused the push", 0},
		{"push 403", errors.New("failed to push " + image + ": unexpected status from POST request to https://registry.example.com/v2/acme/shop/blobs/uploads/: 403 Forbidden"), "refused the push", 0},

		{"push 503", errors.New("failed to push " + image + ": unexpected status from POST request to https://registry.example.com/v2/: 503 Service Unavailable"), "", 0},
		{"push 500 that says denied", errors.New("failed to push " + image + ": unexpected status from PUT request to https://r/v2/: 500 Internal Server Error: access denied by backend"), "", 0},
		{"push not connected", errors.New("failed to push " + image + ": failed to do request: Head \"https://r/v2/\": dial tcp 10.0.0.1:443: connect: connection refused"), "", 0},
		{"push, something new", errors.New("failed to push " + image + ": blob upload invalid"), "", 0},
		{"registry down while logging in", errors.New("failed to push " + image + ": failed to authorize: ask registry r: " + errRegistryDown.Error() + ": EOF"), "", 0},
		{"base image's registry down", onLine(1, errors.New("failed to resolve source metadata for docker.io/library/x:1: failed to do request: Head: dial tcp: i/o timeout")), "", 0},
		{"base image's registry broken", onLine(1, errors.New("failed to resolve source metadata for docker.io/library/x:1: unexpected status from HEAD request to https://r/v2/x/manifests/1: 502 Bad Gateway")), "", 0},
		{"base image's registry busy", onLine(1, errors.New("failed to resolve source metadata for docker.io/library/x:1: 429 Too Many Requests - toomanyrequests")), "", 0},
		{"disk full", onLine(1, errors.New("failed to extract layer: write /var/lib/buildkit/x: no space left on device")), "", 0},
		{"a store damaged by a crash", onLine(2, errors.New("failed to prepare buildkit-layer-snapshot-v1-sha256-0e65 as lmi6: failed to rename: rename /x/snapshots/snapshots/new-871 /x/snapshots/snapshots/4: file exists")), "", 0},
		{"BuildKit gone", status.Error(codes.Unavailable, "error reading from server: EOF"), "", 0},
		{"BuildKit gone in a step", onLine(3, grpcerrors.WrapCode(exit(255), codes.Unavailable)), "", 0},
		{"BuildKit shuts down", onLine(3, context.Canceled), "", 0},
		{"a step's end is not known", onLine(3, &gwpb.ExitError{ExitCode: gwpb.UnknownExitStatus, Err: errors.New("context canceled")}), "", 0},
		{"session lost", errors.New("no active session for abc: context deadline exceeded"), "", 0},
		{"unknown, without a line", errors.New("something new"), "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _ := script(t, asIs, at("run", "[2/2] RUN x", 0, 1, failedVertex("exit code: 2")), says("run", "why\n"))
			f := &files{dockerfile: "Dockerfile", text: []byte("FROM alpine\nRUN --network=host true\n")}
			r := recipe{image: image, host: "registry.example.com", context: "."}
			result, err := explainSolve(carried(c.err), r, f, p, asIs)
			if c.says == "" {
				if err == nil {
					t.Fatalf("got a result: %+v", result)
				}
				return
			}
			if err != nil || result.Conclusion != jobs.Failure || !strings.Contains(result.Summary, c.says) {
				t.Fatalf("got %q, %v, want %q", result.Summary, err, c.says)
			}
			if c.line == 0 && len(result.Annotations) != 0 || c.line > 0 && (len(result.Annotations) != 1 || result.Annotations[0].Line != c.line) {
				t.Errorf("annotations %+v, want line %d", result.Annotations, c.line)
			}
			if c.line > 0 && (result.Annotations[0].Message == "" || strings.HasPrefix(result.Annotations[0].Message, "Dockerfile line")) {
				t.Errorf("annotation says %q", result.Annotations[0].Message)
			}
		})
	}
}

func TestFailureKeepsSecrets(t *testing.T) {
	m := &masker{}
	m.add("hunter22")
	f := &files{dockerfile: "Dockerfile"}
	for _, err := range []error{
		onLine(1, errors.New("bad hunter22")), errors.New("new trouble with hunter22"),
		onLine(1, policysession.WrapDenyMessages(errors.New("x"), []*policysession.DenyMessage{{Message: "hunter22"}})),
	} {
		result, err := explainSolve(carried(err), recipe{}, f, newProgress(&strings.Builder{}, asIs), m.clean)
		if strings.Contains(fmt.Sprintf("%+v %v", result, err), "hunter22") {
			t.Errorf("got %+v, %v", result, err)
		}
	}
}

func TestExplainRegistry(t *testing.T) {
	gone := errors.New("gone")
	for _, c := range []struct {
		name  string
		err   error
		final bool
	}{
		{"denied", fmt.Errorf("tag x: %w", &transport.Error{StatusCode: http.StatusForbidden}), true},
		{"unauthorized", &transport.Error{StatusCode: http.StatusUnauthorized}, true},
		{"broken", &transport.Error{StatusCode: http.StatusBadGateway}, false},
		{"unknown", gone, false},
		{"later", &jobs.Later{Reason: "another's turn"}, false},
		{"refused", &jobs.Refusal{Sentence: "no"}, true},
	} {
		result, err := explainRegistry(c.err, recipe{host: "r", image: "r/x"}, asIs)
		if (err == nil) != c.final || c.final && result.Conclusion != jobs.Failure {
			t.Errorf("%s: got %+v, %v", c.name, result, err)
		}
	}
	var later *jobs.Later
	if _, err := explainRegistry(&jobs.Later{}, recipe{}, asIs); !errors.As(err, &later) {
		t.Errorf("a wait for another became %v", err)
	}
}

func TestRunWithoutFiles(t *testing.T) {
	k, err := New(Config{Allows: allows, BuildKit: []string{"unix:///nowhere.sock"}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	src := newCommit(t, nil)
	task, _ := newTask(t, src, "registry.example.com", jobs.BuildSpec{Image: "registry.example.com/acme/shop"})
	src.err = &jobs.Refusal{Sentence: "the repository has too many files", Cause: fs.ErrInvalid}
	if r, err := k.Run(t.Context(), task); err != nil || r.Conclusion != jobs.Failure || r.Summary != "the repository has too many files" {
		t.Errorf("got %+v, %v", r, err)
	}
	src.err = errors.New("GitHub is away")
	if r, err := k.Run(t.Context(), task); err == nil {
		t.Errorf("got %+v", r)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(jobs.ErrShutdown)
	src.err = nil
	if r, err := k.Run(ctx, task); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestWarningsAsAnnotations(t *testing.T) {
	got := warnings([]*client.VertexWarning{
		{Short: []byte("JSONArgsRecommended: use JSON (line 7)"), URL: "https://docs.docker.com/go/x", Range: []*pb.Range{{Start: &pb.Position{Line: 7}}}},
		{Short: []byte("no place")},
	}, "app/Dockerfile")
	if len(got) != 2 || got[0].Line != 7 || got[0].EndLine != 7 || got[0].Level != "warning" || got[0].Path != "app/Dockerfile" || got[1].Line != 1 {
		t.Errorf("got %+v", got)
	}
}
