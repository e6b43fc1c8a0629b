//go:build engines

package build

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ci/slipway/jobs"
)

func TestEngineFailures(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	for _, c := range []struct {
		name       string
		dockerfile string
		spec       jobs.BuildSpec
		line       int      // of the annotation; 0 for none
		says       []string // in the summary
		tail       string
	}{
		{"a step fails", "FROM alpine\nRUN echo fine\nRUN echo the reason is this >&2; \\\n    exit 7\n", jobs.BuildSpec{}, 3,
			[]string{"Dockerfile line 3: ", "RUN echo the reason", "failed with exit code 7"}, "the reason is this"},
		{"a step is killed", "FROM alpine\nRUN sh -c 'kill -9 $$'; exit $?\n", jobs.BuildSpec{}, 2, []string{"was killed (exit code 137)", "memory"}, ""},
		{"a program that isn't there", "FROM scratch\nRUN [\"/nope\"]\n", jobs.BuildSpec{}, 2, []string{"Dockerfile line 2: ", "/nope"}, ""},
		{"parse error", "FROM alpine\nRUN true\nCOPPY x /x\n", jobs.BuildSpec{}, 3, []string{"Dockerfile line 3: unknown instruction: COPPY"}, ""},
		{"wrong flag", "FROM alpine\nCOPY --form=x y /z\n", jobs.BuildSpec{}, 2, []string{"Dockerfile line 2: ", "unknown flag: --form"}, ""},
		{"empty file", "\n", jobs.BuildSpec{}, 1, []string{"file with no instructions"}, ""},
		{"base image missing", "FROM library/no-such-image:1\n", jobs.BuildSpec{}, 1, []string{"Dockerfile line 1: image docker.io/library/no-such-image:1 was not found"}, ""},
		{"COPY source missing", "FROM alpine\nCOPY no/such.txt /\n", jobs.BuildSpec{}, 2, []string{"Dockerfile line 2: /no/such.txt is not in the build context", ".dockerignore"}, ""},
		{"COPY from a stage that isn't there", "FROM alpine\nCOPY --from=nope /x /\n", jobs.BuildSpec{}, 2, []string{"image docker.io/library/nope:latest was not found"}, ""},
		{"COPY from a stage that lacks it", "FROM alpine AS a\nFROM alpine\nCOPY --from=a /nope /\n", jobs.BuildSpec{}, 3, []string{"Dockerfile line 3: /nope is not in the stage or image it is copied from"}, ""},
		{"COPY that climbs", "FROM alpine\nCOPY ../../etc/passwd /stolen\n", jobs.BuildSpec{}, 2, []string{"/etc/passwd is not in the build context"}, ""},
		{"target missing", "FROM alpine\n", jobs.BuildSpec{Target: "nope"}, 0, []string{`target stage "nope" could not be found`}, ""},
		{"host network", "FROM alpine\nRUN --network=host true\n", jobs.BuildSpec{}, 2, []string{"network.host, which builds here are never given"}, ""},
		{"privileged step", "FROM alpine\nRUN --security=insecure true\n", jobs.BuildSpec{}, 2, []string{"security.insecure, which builds here are never given"}, ""},
		{"secret required", "FROM alpine\nRUN --mount=type=secret,id=npm,required=true true\n", jobs.BuildSpec{}, 2, []string{`requires the secret "npm"`, "given no secrets"}, ""},
		{"SSH agent required", "FROM alpine\nRUN --mount=type=ssh,required=true true\n", jobs.BuildSpec{}, 2, []string{"SSH agent, and builds here are given none"}, ""},
		{"another frontend", "# syntax=example.com/my/frontend:1\nFROM alpine\n", jobs.BuildSpec{}, 1, []string{"Dockerfile line 1: the syntax line asks for the frontend example.com/my/frontend:1"}, ""},
		{"ADD of nothing", "FROM alpine\nADD http://127.0.0.1:1/x /x\n", jobs.BuildSpec{}, -1, []string{"connection refused"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spec.Image = e.Registry + "/" + unique(t)
			task, rec := newTask(t, newCommit(t, map[string]string{"Dockerfile": c.dockerfile}), e.Registry, c.spec)
			if c.line < 0 { // ours: the far end may be back at the next try
				if r, err := k.Run(t.Context(), task); err == nil || !strings.Contains(err.Error(), c.says[0]) {
					t.Fatalf("got %+v, %v, want an error that says %q", r, err, c.says[0])
				}
				return
			}
			r := mustRun(t, k, task, rec, jobs.Failure)
			t.Log(r.Summary)
			for _, s := range c.says {
				if !strings.Contains(r.Summary, s) {
					t.Errorf("the summary doesn't say %q: %s\ncause: %s", s, r.Summary, r.Cause)
				}
			}
			if c.line == 0 && len(r.Annotations) > 0 {
				t.Errorf("annotations: %+v", r.Annotations)
			}
			if c.line > 0 && (len(r.Annotations) != 1 || r.Annotations[0].Line != c.line || r.Annotations[0].Path != "Dockerfile" || r.Annotations[0].Message == "") {
				t.Errorf("annotations %+v, want one on line %d", r.Annotations, c.line)
			}
			if !strings.Contains(strings.Join(r.Tail, "\n"), c.tail) {
				t.Errorf("tail %q, want %q in it", r.Tail, c.tail)
			}
		})
	}
}

// A Dockerfile that asks for every secret it can think of, and looks everywhere else, finds nothing of ours.
func TestEngineSecretsAreNowhere(t *testing.T) {
	e := engines(t)
	t.Setenv("GIT_AUTH_TOKEN", "ghs_leak")
	t.Setenv("GITHUB_TOKEN", "ghs_leak")
	t.Setenv("SSH_AUTH_SOCK", "/run/ghs_leak.sock")
	passwordFile := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(passwordFile, []byte("ghs_leak"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := newKind(t, e, func(c *Config) {
		c.Registries = map[string]Registry{e.Registry: {Insecure: true, Username: "ghs_leak", PasswordFile: passwordFile}}
	})
	ids := []string{"GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN.github.com", "GIT_AUTH_HEADER", "GIT_AUTH_HEADER.github.com", "GITHUB_TOKEN", "GH_TOKEN", "github_token",
		"token", "default", "0", "ssh", "npm", "npmrc", "netrc", "aws", "docker", "dockerconfig", ".dockerconfigjson", "registry", "password",
		"HTTP_AUTH_HEADER", "HTTP_AUTH_TOKEN", "kubeconfig", "app.pem", "private_key", "webhook.secret", e.Registry}
	mounts := ""
	for _, id := range ids {
		mounts += fmt.Sprintf(" --mount=type=secret,id=%s,target=/s/%s", id, strings.ReplaceAll(id, "/", "-"))
		mounts += fmt.Sprintf(" --mount=type=secret,id=%s,env=S_%s", id, strings.NewReplacer(".", "_", ":", "_", "/", "_").Replace(id))
	}
	src := newCommit(t, map[string]string{
		"Dockerfile": "FROM alpine\nCOPY . /ctx\n" +
			"RUN" + mounts + " --mount=type=ssh sh /ctx/look.sh\n",
		"look.sh": `#!/bin/sh
mkdir -p /found
{
	find /s /run/secrets -type f
	env | grep '^S_.*=.'
	test -e "$SSH_AUTH_SOCK" && echo an SSH agent
	test -e /ctx/.git && echo a Git folder
	needle="ghs_""leak" # not to find this very line
	find / -xdev -type f ! -path '/proc/*' ! -path '/sys/*' -exec grep -l "$needle" {} +
	cat /proc/*/environ /proc/*/cmdline | tr '\0' '\n' >/processes # first all, or it finds the grep itself
	grep "$needle" /processes
	rm /processes
} > /found/list 2>/dev/null
exit 0
`,
	})
	image := unique(t)
	task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	r := mustRun(t, k, task, rec, jobs.Success)
	h, found := entry(t, pullImage(t, e.Registry, image, r.Outputs[OutputDigest]), "found/list")
	if h == nil || found != "" {
		t.Errorf("the Dockerfile found %q", found)
	}
	if strings.Contains(rec.text(), "ghs_leak") {
		t.Errorf("the log holds it:\n%s", rec.text())
	}
}

// A link that leads out of the repository is only a link: in the build it leads nowhere.
func TestEngineLinksStayInside(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := newCommit(t, map[string]string{"Dockerfile": "FROM alpine\nCOPY leak/secret /stolen\n", "leak": "-> " + outside})
	task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + unique(t)})
	r := mustRun(t, k, task, rec, jobs.Failure)
	if !strings.Contains(r.Summary, "is not in the build context") {
		t.Errorf("got %s", r.Summary)
	}
}

// Cache mounts of the same ID belong to one repository each.
func TestEngineCacheMountsKeptApart(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	build := func(repository int64, salt string) string {
		t.Helper()
		src := newCommit(t, map[string]string{"Dockerfile": "FROM alpine\nARG SALT\n" +
			"RUN --mount=type=cache,id=shared,target=/c sh -c 'echo $SALT; cp /c/note /found 2>/dev/null || echo nothing > /found; echo from repository " + fmt.Sprint(repository) + " > /c/note'\n"})
		image := unique(t)
		task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image, Args: map[string]string{"SALT": salt}})
		task.Run.Repository.ID = repository
		r := mustRun(t, k, task, rec, jobs.Success)
		_, found := entry(t, pullImage(t, e.Registry, image, r.Outputs[OutputDigest]), "found")
		return strings.TrimSpace(found)
	}
	salt, first := unique(t), time.Now().UnixNano()
	second := first + 1
	build(first, salt)
	if got := build(first, salt+"again"); got != fmt.Sprintf("from repository %d", first) {
		t.Errorf("a repository doesn't find its own cache: %q", got)
	}
	if got := build(second, salt); got != "nothing" {
		t.Errorf("another repository finds %q", got)
	}
}

func TestEngineRegistryWithTokens(t *testing.T) {
	e := engines(t)
	for _, scheme := range []string{"bearer", "basic"} {
		t.Run(scheme, func(t *testing.T) {
			g := newGuarded(t, scheme)
			for _, repo := range []string{"acme/pay", "acme/shop/base", "base/go", "public/tool"} {
				g.put(t, repo, "1", randomImage(t))
			}
			k := newKind(t, e, func(c *Config) { c.Registries = map[string]Registry{g.host(): g.conf(t, "base/*")} })
			run := func(t *testing.T, dockerfile string, want jobs.Conclusion) (jobs.Result, *record) {
				t.Helper()
				src := newCommit(t, map[string]string{"Dockerfile": strings.ReplaceAll(dockerfile, "HOST", g.host()), "v": unique(t)})
				task, rec := newTask(t, src, g.host(), jobs.BuildSpec{Image: g.host() + "/acme/shop/api"})
				return mustRun(t, k, task, rec, want), rec
			}
			r, rec := run(t, "FROM scratch\nCOPY v /v\nCOPY --from=HOST/acme/shop/base:1 / /a\nCOPY --from=HOST/base/go:1 / /b\n", jobs.Success)
			if scheme == "bearer" {
				// BuildKit may also ask for less than it needs at first; what matters is that there is nothing else.
				want := []string{"bot repository:acme/shop/api:pull,push", "bot repository:acme/shop/base:pull", "bot repository:base/go:pull"}
				got := slices.DeleteFunc(g.seen(), func(s string) bool {
					return s == "bot repository:acme/shop/api:push,pull" || s == "bot repository:acme/shop/api:pull"
				})
				if !slices.Equal(got, want) {
					t.Errorf("tokens %q, want %q", got, want)
				}
			}
			if strings.Contains(rec.text()+fmt.Sprint(r), testPassword) {
				t.Error("the password shows")
			}
			r, _ = run(t, "FROM scratch\nCOPY v /v\nCOPY --from=HOST/acme/pay:1 / /stolen\n", jobs.Failure)
			t.Log(r.Summary)
			if len(r.Annotations) != 1 || r.Annotations[0].Line != 3 || !strings.Contains(r.Summary, "acme/pay") {
				t.Errorf("another team's image: %s, %+v", r.Summary, r.Annotations)
			}
			for _, s := range g.seen() {
				if strings.HasPrefix(s, "bot ") && strings.Contains(s, "acme/pay") {
					t.Errorf("the operator's login was used for %q", s)
				}
			}
			g.set(func() {
				for _, l := range g.logins {
					if strings.Contains(l, "acme/pay") {
						t.Errorf("the operator's login was used for %q", l)
					}
				}
			})
		})
	}
}

func TestEnginePushRefusedOrBroken(t *testing.T) {
	e := engines(t)
	for _, scheme := range []string{"bearer", "basic"} {
		t.Run(scheme, func(t *testing.T) {
			g := newGuarded(t, scheme)
			k := newKind(t, e, func(c *Config) { c.Registries = map[string]Registry{g.host(): g.conf(t)} })
			src := newCommit(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY v /v\n", "v": "x"})
			task, rec := newTask(t, src, g.host(), jobs.BuildSpec{Image: g.host() + "/acme/shop/api"})
			g.set(func() { g.refuse = "acme/shop/api" })
			r := mustRun(t, k, task, rec, jobs.Failure)
			if want := "refused the push of " + g.host() + "/acme/shop/api"; !strings.Contains(r.Summary, want) {
				t.Errorf("the summary doesn't say %q: %s\n%s", want, r.Summary, r.Cause)
			}
			g.set(func() { g.refuse, g.broken = "", http.StatusServiceUnavailable })
			if r, err := k.Run(t.Context(), task); err == nil {
				t.Errorf("a broken registry gave a result: %+v", r)
			}
			g.set(func() { g.broken = 0 })
			r = mustRun(t, k, task, rec, jobs.Success)
			ref, err := name.NewDigest(fmt.Sprint(r.Outputs[OutputRef]), name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Get(ref, publisherFor(t, g, "acme/shop/api").options(t.Context())...); err != nil {
				t.Errorf("the image isn't there: %v", err)
			}
			g.Close()
			if r, err := k.Run(t.Context(), task); err == nil {
				t.Errorf("a registry that is gone gave a result: %+v", r)
			}
		})
	}
}
