package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/slipway-ci/slipway/jobs"
)

// Names of a build's outputs, as later jobs read them (needs.X.outputs.NAME).
const (
	OutputImage       = "image"        // string: registry/name
	OutputDigest      = "digest"       // string: of the platform's manifest, what rollouts use; with several platforms, of the index
	OutputIndexDigest = "index_digest" // string: of the index around it, which holds the provenance; absent when there is none
	OutputRef         = "ref"          // string: image@digest
	OutputTags        = "tags"         // string: the tags that were set, separated by commas
	OutputSize        = "size"         // int64: bytes, compressed
	OutputSeconds     = "seconds"      // float64
	OutputSteps       = "steps"        // int64: steps of the Dockerfile
	OutputCachedSteps = "cached_steps" // int64: of them, answered from the cache
)

// Kind builds images. It serves any number of builds at the same time.
type Kind struct {
	conf       Config
	pool       *pool
	registries *registries
	log        *slog.Logger
}

var _ jobs.Kind = (*Kind)(nil)

// errTimeout is the cause of a build's context when the build took too long.
var errTimeout = errors.New("the build took too long")

// New checks the configuration and prepares a Kind. It connects to nothing yet; Close it when done.
func New(conf Config, log *slog.Logger) (*Kind, error) {
	if err := conf.Validate(); err != nil {
		return nil, err
	}
	if conf.Allows == nil {
		return nil, errors.New("build: Config.Allows is not set")
	}
	conf = conf.withDefaults()
	p, err := newPool(conf, log)
	if err != nil {
		return nil, err
	}
	k := &Kind{conf: conf, pool: p, registries: newRegistries(conf.Registries), log: log}
	k.registries.outgoing = conf.Outgoing
	return k, nil
}

// Close closes the connections to BuildKit. No Run may be under way.
func (k *Kind) Close() error { return k.pool.close() }

// Run carries one build to its result, as jobs.Kind asks for.
func (k *Kind) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	result, err := k.run(ctx, task)
	if err == nil {
		return result.Bound(), nil
	}
	if ctx.Err() != nil {
		return jobs.Result{}, ctx.Err()
	}
	if result, ok := theirs(err); ok {
		return result.Bound(), nil
	}
	return jobs.Result{}, err
}

func (k *Kind) run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	r, err := newRecipe(task, k.conf.Allows)
	if err != nil {
		return jobs.Result{}, err
	}
	if len(k.conf.BuildKit) == 0 {
		return jobs.Result{}, refuse("this Slipway can't build images: whoever runs it must set builds.buildkit in config.yaml")
	}
	checkout, err := task.Source.Checkout(ctx, task.Run)
	if err != nil {
		return jobs.Result{}, fmt.Errorf("get the files of %s at %s: %w", task.Run.Repository.FullName(), task.Run.SHA, err)
	}
	defer checkout.Close()
	f, err := openFiles(r, checkout)
	if err != nil {
		return jobs.Result{}, err
	}
	defer f.close()

	secrets := &masker{}
	p := newProgress(task.Log, secrets.clean)
	b, err := k.pool.acquire(ctx, r.cacheSpace, func() { p.line("waiting for a free BuildKit") })
	if err != nil {
		return jobs.Result{}, err
	}
	defer k.pool.release(b)

	timed, cancel := context.WithTimeoutCause(ctx, k.conf.Timeout, errTimeout)
	defer cancel()
	started := time.Now()
	ring := newKeyring(r, k.registries, k.conf.Allows, secrets, k.log)
	pushed, err := k.solve(timed, b, task, r, f, checkout.CommitTime, ring, p)
	if err != nil {
		switch {
		case ctx.Err() != nil:
			return jobs.Result{}, ctx.Err()
		case errors.Is(context.Cause(timed), errTimeout):
			return k.timedOut(p), nil
		}
		result, err := explainSolve(err, r, f, p, secrets.clean)
		if err != nil {
			if orphaned.MatchString(err.Error()) {
				k.pool.repair(ctx, b)
			}
			_ = k.pool.ask(ctx, b) // when it is gone, others are preferred from now on
			return jobs.Result{}, err
		}
		return result, nil
	}
	k.pool.built(b)
	if !r.push {
		return k.builtOnly(r, started, p, f.dockerfile), nil
	}
	img, done, err := k.publish(timed, task, r, pushed)
	if err != nil {
		if errors.Is(context.Cause(timed), errTimeout) && ctx.Err() == nil {
			return k.timedOut(p), nil
		}
		return explainRegistry(err, r, secrets.clean)
	}
	for _, kept := range done.kept {
		p.line("%s", kept)
	}
	if r.notMoved != "" {
		p.line("tags %s", r.notMoved)
	}
	return k.success(r, img, done, started, p, f.dockerfile), nil
}

// publish reads back what BuildKit pushed and tags it.
func (k *Kind) publish(ctx context.Context, task jobs.Task, r recipe, digest string) (image, published, error) {
	reg, err := k.registries.get(r.host)
	if err != nil {
		return image{}, published{}, err
	}
	pub, err := newPublisher(reg, r.name)
	if err != nil {
		return image{}, published{}, err
	}
	img, err := pub.inspect(ctx, digest)
	if err != nil {
		return image{}, published{}, err
	}
	done, err := pub.publish(ctx, task, r, img)
	return img, done, err
}

func (k *Kind) timedOut(p *progress) jobs.Result {
	r := jobs.Result{
		Conclusion: jobs.TimedOut,
		Summary:    fmt.Sprintf("the build was stopped after %s: make it faster, or ask whoever runs Slipway to raise builds.timeout in config.yaml", elapsed(k.conf.Timeout)),
	}
	if st := p.interrupted(); st != nil {
		r.Summary = fmt.Sprintf("the build was stopped after %s, in `%s`: make it faster, or ask whoever runs Slipway to raise builds.timeout in config.yaml", elapsed(k.conf.Timeout), command(st.name))
		r.Tail = st.lastLines()
	}
	return r
}

// builtOnly is the result of work from outside that was approved: it built, and nothing was pushed.
func (k *Kind) builtOnly(r recipe, started time.Time, p *progress, dockerfile string) jobs.Result {
	steps, cached := p.count()
	took := time.Since(started)
	return jobs.Result{
		Conclusion:  jobs.Success,
		Summary:     fmt.Sprintf("built in %s (%d of %d steps cached); nothing was pushed: what comes from outside is only built", elapsed(took), cached, steps),
		Outputs:     map[string]any{OutputImage: r.image, OutputSeconds: math.Round(took.Seconds()*100) / 100, OutputSteps: steps, OutputCachedSteps: cached},
		Annotations: warnings(p.warnings, dockerfile),
	}
}

func (k *Kind) success(r recipe, img image, done published, started time.Time, p *progress, dockerfile string) jobs.Result {
	steps, cached := p.count()
	took := time.Since(started)
	tags := strings.Join(done.tags, ", ")
	out := map[string]any{
		OutputImage: r.image, OutputDigest: img.digest, OutputRef: r.image + "@" + img.digest,
		OutputTags: strings.Join(done.tags, ","), OutputSize: img.size, OutputSeconds: math.Round(took.Seconds()*100) / 100,
		OutputSteps: steps, OutputCachedSteps: cached,
	}
	if img.index != "" {
		out[OutputIndexDigest] = img.index
	}
	summary := fmt.Sprintf("built %s@%s in %s (%d of %d steps cached)", r.image, short(img.digest), elapsed(took), cached, steps)
	if len(done.tags) > 0 {
		summary += " and pushed as " + tags
	} else {
		summary += " and pushed without a tag"
	}
	if len(done.kept) > 0 {
		summary += "; " + strings.Join(done.kept, "; ")
	}
	var d strings.Builder
	row := func(name, value string) { fmt.Fprintf(&d, "| %s | %s |\n", name, value) }
	d.WriteString("| | |\n|---|---|\n")
	row("Image", code(r.image))
	row("Digest", code(img.digest))
	if img.index != "" && img.index != img.digest {
		row("Index", code(img.index))
	}
	if tags == "" {
		tags = "none"
	}
	row("Tags", tags)
	row("Size", size(img.size)+" compressed")
	row("Time", elapsed(took))
	row("Cached", fmt.Sprintf("%d of %d steps", cached, steps))
	for _, kept := range done.kept {
		fmt.Fprintf(&d, "\nTag %s.\n", kept)
	}
	if r.notMoved != "" {
		fmt.Fprintf(&d, "\nTags %s.\n", r.notMoved)
	}
	return jobs.Result{
		Conclusion: jobs.Success, Summary: summary, Details: d.String(), Outputs: out,
		Annotations: warnings(p.warnings, dockerfile),
	}
}

// warnings turns the frontend's warnings into annotations.
func warnings(ws []*client.VertexWarning, dockerfile string) []jobs.Annotation {
	var out []jobs.Annotation
	for _, w := range ws {
		a := jobs.Annotation{Path: dockerfile, Line: 1, Level: "warning", Title: "Dockerfile", Message: string(w.Short)}
		if len(w.Range) > 0 && w.Range[0].GetStart().GetLine() > 0 {
			a.Line = int(w.Range[0].GetStart().GetLine())
			a.EndLine = max(a.Line, int(w.Range[0].GetEnd().GetLine()))
		}
		if w.URL != "" {
			a.Message += " (" + w.URL + ")"
		}
		out = append(out, a)
	}
	return out
}

func code(s string) string { return "`" + s + "`" }

// short cuts a digest for people: sha256:0123456789ab….
func short(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return algorithm + ":" + hex[:min(12, len(hex))] + "…"
}

// size writes bytes for people, in powers of ten as registries' pages do.
func size(n int64) string {
	switch {
	case n < 1000:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
