package githubapp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxFile   = 1 << 20   // bytes; GitHub's contents API gives no more in one answer
	maxFiles  = 256       // files that are kept
	maxCached = 128 << 10 // bytes of a file that is kept: 32 MB in all
)

type fileKey struct {
	repository int64
	sha, path  string
}

// A file of a commit never changes, so it is kept under our own key; GitHub's ETags are bound to tokens.
type file struct {
	data  []byte
	found bool
}

// File returns a file's content at a commit, at most 1 MB; what is larger, or no file, is a *jobs.Refusal. path is
// slash-separated from the repository's root. found is false when the commit has no such file; a commit or repository that
// is not there is an error. The data must not be written to.
func (a *App) File(ctx context.Context, installation int64, repo jobs.Repository, sha, path string) (data []byte, found bool, err error) {
	attempt := fmt.Sprintf("read %s at %s of %s", path, jobs.Abbreviate(sha), repo.FullName())
	if !ValidSHA(sha) || !fs.ValidPath(path) || path == "." {
		return nil, false, fmt.Errorf("%s: not a file at a full SHA", attempt)
	}
	key := fileKey{repo.ID, sha, path}
	if kept, ok := a.files.Get(key); ok {
		return kept.data, kept.found, nil
	}
	c, err := a.client(installation, repo)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", attempt, err)
	}
	got, folder, _, err := c.Repositories.GetContents(operation(ctx, "repos/get-content"), repo.Owner, repo.Name, path,
		&github.RepositoryContentGetOptions{Ref: sha})
	switch {
	case err != nil:
		err = explain(ctx, attempt, err)
		if status(err) != http.StatusNotFound {
			return nil, false, err
		}
		if err := a.hasCommit(ctx, c, repo, sha); err != nil {
			return nil, false, fmt.Errorf("%s: %w", attempt, err)
		}
	default:
		content, problem, err := decodeContent(got, folder)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", attempt, err)
		}
		if problem != "" {
			return nil, false, &jobs.Refusal{Sentence: path + " " + problem}
		}
		data, found = content, true
	}
	if len(data) <= maxCached {
		a.files.Add(key, file{data, found})
	}
	return data, found, nil
}

// decodeContent reads GitHub's answer about a path: a file, or a folder's list. problem says what of it is no file to read, to go
// on from its name.
func decodeContent(got *github.RepositoryContent, folder []*github.RepositoryContent) (content []byte, problem string, err error) {
	switch {
	case folder != nil || got.GetType() != "file":
		return nil, "is not a regular file; make it one", nil
	case got.GetSize() > maxFile || got.GetEncoding() == "none":
		return nil, "is larger than 1 MB; make it smaller", nil
	}
	text, err := got.GetContent()
	if err == nil && len(text) != got.GetSize() {
		err = errors.New("GitHub's answer is incomplete")
	}
	return []byte(text), "", err
}
