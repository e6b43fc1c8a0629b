package githubapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/slipway-ci/slipway/jobs"
)

// ArchivesConfig is what an Archives needs.
type ArchivesConfig struct {
	App *App
	// Dir is where commits are unpacked. It is made if missing and must be this process's own.
	Dir string
	// Budget is how many bytes of unpacked files may lie there; 0 means 10 GB. Commits in use are never removed, so more
	// may lie there for a while.
	Budget int64
	Log    *slog.Logger
}

// Archives gives jobs the files of a commit: GitHub's archive of the exact SHA, unpacked once and shared. It is a
// jobs.Source.
//
// As in every archive that Git makes, files with the attribute export-ignore are missing, submodules are empty folders,
// and files in Git LFS are their pointers. The commit of a fork's pull request is found in the base repository.
type Archives struct {
	app    *App
	dir    string
	budget int64
	log    *slog.Logger
	limits archiveLimits
	flight singleflight.Group
	slots  chan struct{} // downloads under way

	mu      sync.Mutex
	entries map[string]*entry
	total   int64
	clock   uint64
}

var _ jobs.Source = (*Archives)(nil)

type entry struct {
	unpacked
	users int
	used  uint64 // Archives.clock when it was last taken
}

const (
	defaultArchiveBudget = 10 << 30
	maxDownloads         = 4
	downloadTimeout      = 15 * time.Minute
	entryOverhead        = 4 << 10 // bytes that an entry costs on disk beside its content
	treeName             = "tree"
	metaName             = "commit.json"
	partialPrefix        = "partial-"
)

var entryForm = regexp.MustCompile(`^[0-9]+-([0-9a-f]{40}|[0-9a-f]{64})$`)

// NewArchives opens the folder, takes over the commits that lie there whole, and removes what was left half done.
func NewArchives(config ArchivesConfig) (*Archives, error) {
	dir, err := filepath.Abs(config.Dir)
	if err != nil || config.Dir == "" {
		return nil, fmt.Errorf("open the folder of archives %q: not a path", config.Dir)
	}
	s := &Archives{
		app: config.App, dir: dir, budget: config.Budget, log: config.Log, limits: defaultLimits,
		slots: make(chan struct{}, maxDownloads), entries: map[string]*entry{},
	}
	if s.budget <= 0 {
		s.budget = defaultArchiveBudget
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the folder of archives: %w", err)
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of archives: %w", err)
	}
	for _, f := range found {
		known := entryForm.MatchString(f.Name())
		if known {
			if whole, err := s.load(f.Name()); err == nil {
				s.entries[f.Name()] = &entry{unpacked: whole}
				s.total += cost(whole)
				continue
			}
		}
		// Nothing else that may lie there is touched.
		if match, _ := filepath.Match(partialPrefix+"*", f.Name()); known || match {
			if err := os.RemoveAll(filepath.Join(dir, f.Name())); err != nil {
				return nil, fmt.Errorf("remove what was left in the folder of archives: %w", err)
			}
		}
	}
	s.evict()
	return s, nil
}

// load reads an entry's note and checks that its files are all there: after a power cut they need not be.
func (s *Archives) load(name string) (unpacked, error) {
	var noted unpacked
	data, err := os.ReadFile(filepath.Join(s.dir, name, metaName))
	if err != nil {
		return noted, err
	}
	if err := json.Unmarshal(data, &noted); err != nil {
		return noted, err
	}
	var size int64
	err = filepath.WalkDir(filepath.Join(s.dir, name, treeName), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err == nil && size != noted.Size {
		err = errors.New("files are missing")
	}
	return noted, err
}

func cost(u unpacked) int64 { return u.Size + int64(u.Entries)*entryOverhead }

// Checkout returns the files of the run's commit. Callers that ask for the same commit share one download, which goes on
// when the first of them gives up.
func (s *Archives) Checkout(ctx context.Context, run jobs.RunInfo) (*jobs.Checkout, error) {
	if !ValidSHA(run.SHA) || run.Repository.ID <= 0 {
		return nil, fmt.Errorf("check out %s of %s: not a full SHA of a known repository", jobs.Cut(run.SHA, 64), run.Repository.FullName())
	}
	name := fmt.Sprintf("%d-%s", run.Repository.ID, run.SHA)
	for {
		if e := s.take(name); e != nil {
			return s.open(name, e)
		}
		answer := s.flight.DoChan(name, func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downloadTimeout)
			defer cancel()
			return nil, s.fetch(ctx, name, run)
		})
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case got := <-answer:
			if got.Err != nil {
				return nil, got.Err
			}
		}
	}
}

// take marks an entry as used once more; nil when there is none.
func (s *Archives) take(name string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[name]
	if e != nil {
		e.users++
		s.clock++
		e.used = s.clock
	}
	return e
}

func (s *Archives) release(e *entry) {
	s.mu.Lock()
	e.users--
	s.mu.Unlock()
	s.evict()
}

func (s *Archives) open(name string, e *entry) (*jobs.Checkout, error) {
	dir := filepath.Join(s.dir, name, treeName)
	root, err := os.OpenRoot(dir)
	if err != nil {
		s.release(e)
		return nil, fmt.Errorf("open the unpacked commit: %w", err)
	}
	return &jobs.Checkout{Dir: dir, Root: root, CommitTime: e.Time, Close: sync.OnceFunc(func() {
		root.Close()
		s.release(e)
	})}, nil
}

// fetch downloads and unpacks beside, and moves the whole into place.
func (s *Archives) fetch(ctx context.Context, name string, run jobs.RunInfo) error {
	s.mu.Lock()
	have := s.entries[name] != nil
	s.mu.Unlock()
	if have {
		return nil
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	attempt := fmt.Sprintf("fetch the files of %s at %s", run.Repository.FullName(), jobs.Abbreviate(run.SHA))
	partial, err := os.MkdirTemp(s.dir, partialPrefix)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	defer os.RemoveAll(partial) // nothing there once it is moved
	done, err := s.download(ctx, partial, run)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	note, err := json.Marshal(done)
	if err == nil {
		err = os.WriteFile(filepath.Join(partial, metaName), note, 0o600)
	}
	if err == nil {
		err = os.Rename(partial, filepath.Join(s.dir, name))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	s.mu.Lock()
	s.clock++
	// One user until the caller has taken it: it must not be evicted on the way.
	e := &entry{unpacked: done, users: 1, used: s.clock}
	s.entries[name] = e
	s.total += cost(done)
	s.mu.Unlock()
	s.evict()
	s.mu.Lock()
	e.users--
	s.mu.Unlock()
	return nil
}

func (s *Archives) download(ctx context.Context, partial string, run jobs.RunInfo) (unpacked, error) {
	tree := filepath.Join(partial, treeName)
	if err := os.Mkdir(tree, 0o755); err != nil {
		return unpacked{}, err
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return unpacked{}, err
	}
	defer root.Close()
	stream, err := s.app.archive(ctx, run.Installation, run.Repository, run.SHA)
	if err != nil {
		return unpacked{}, err
	}
	defer stream.Close()
	done, err := unpack(ctx, stream, root, run.SHA, s.limits)
	if err != nil {
		return unpacked{}, bare(err)
	}
	return done, nil
}

// evict removes what was not used for the longest time until the budget is kept. Commits in use stay.
func (s *Archives) evict() {
	for _, dir := range s.setAside() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("remove an unpacked commit", "dir", dir, "error", err)
		}
	}
}

// setAside moves what must go out of the way of a new download and returns where to. A crash on the way leaves no half
// entry under its name. An entry that can't be moved is kept, so that its files stay counted and in use, and the next eviction
// tries again. It makes nothing new: that may not be possible on a full disk.
func (s *Archives) setAside() (dirs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.total > s.budget {
		var oldest string
		for name, e := range s.entries {
			if e.users == 0 && (oldest == "" || e.used < s.entries[oldest].used) {
				oldest = name
			}
		}
		if oldest == "" {
			break
		}
		aside := filepath.Join(s.dir, fmt.Sprintf("%s%s-%d", partialPrefix, oldest, s.entries[oldest].used))
		switch err := os.Rename(filepath.Join(s.dir, oldest), aside); {
		case err == nil:
			dirs = append(dirs, aside)
		case !errors.Is(err, fs.ErrNotExist): // what is not there any more need not be moved
			s.log.Error("set an unpacked commit aside", "entry", oldest, "error", err)
			return dirs
		}
		s.total -= cost(s.entries[oldest].unpacked)
		delete(s.entries, oldest)
	}
	return dirs
}

// archive opens the stream of a commit's tar.gz.
func (a *App) archive(ctx context.Context, installation int64, repo jobs.Repository, sha string) (io.ReadCloser, error) {
	c, err := a.client(installation, repo)
	if err != nil {
		return nil, err
	}
	const name = "repos/download-tarball-archive"
	stream, err := a.stored(operation(ctx, name), c, fmt.Sprintf("repos/%s/%s/tarball/%s", repo.Owner, repo.Name, sha), "the archive")
	if status(err) == http.StatusNotFound {
		if err := a.hasCommit(ctx, c, repo, sha); err != nil {
			return nil, err
		}
		return nil, &Unavailable{Operation: name, Status: http.StatusNotFound, After: time.Minute,
			Cause: errors.New("the commit is there, its archive is not")}
	}
	return stream, err
}
