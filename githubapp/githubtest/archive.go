package githubtest

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// ticketLifetime is how long the address of an archive can be used, from GitHub's page "Download a repository archive".
const ticketLifetime = 5 * time.Minute

// archiveTicket is what the address of an archive carries instead of a token. It holds for one commit and five minutes.
func (s *Server) archiveTicket(r *Repository, sha string) string {
	return ticketFor(r, sha, s.now().Unix()/int64(ticketLifetime/time.Second))
}

func ticketFor(r *Repository, sha string, window int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d %p", r.ID, sha, window, r.s))
	return strings.ToUpper(hex.EncodeToString(sum[:15]))
}

// serveArchive streams an archive made by git archive: one folder OWNER-REPO-SHORTSHA/, and in a tar the commit's ID in its
// global header, as GitHub has it.
func (s *Server) serveArchive(w http.ResponseWriter, r *http.Request) {
	log := Request{Method: r.Method, Path: r.URL.Path, Operation: "archive"}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/_codeload/"), "/")
	if len(parts) != 4 {
		http.NotFound(w, r)
		return
	}
	format, sha := strings.TrimPrefix(parts[2], "legacy."), parts[3]
	s.mu.Lock()
	repo := s.repository(parts[0] + "/" + parts[1])
	valid, name := false, ""
	if repo != nil {
		name = repo.Owner.Login + "-" + repo.Name
		window := s.now().Unix() / int64(ticketLifetime/time.Second)
		ticket := r.URL.Query().Get("token")
		valid = ticket == ticketFor(repo, sha, window) || ticket == ticketFor(repo, sha, window-1)
	}
	failure := s.failureFor("archive", r.URL.Path, 0)
	s.mu.Unlock()
	if failure != nil {
		log.Failed = failure.String()
		given, answered := failure.answer(s.now())
		if !answered {
			s.record(log)
			s.keepSilent(w, r, failure)
			return
		}
		log.Status = given.status
		s.record(log)
		http.Error(w, http.StatusText(given.status), given.status)
		return
	}
	if !valid || !isSHA(sha) || format != "tar.gz" && format != "zip" {
		log.Status = http.StatusNotFound
		s.record(log)
		http.Error(w, "404: Not Found", http.StatusNotFound)
		return
	}
	log.Status = http.StatusOK
	s.record(log)
	folder := name + "-" + sha[:7]
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%s.%s", folder, format))
	w.Header().Set("ETag", `W/"`+sha+`"`)
	ctx, cancel := context.WithTimeout(r.Context(), gitTimeout)
	defer cancel()
	kind := map[string]string{"tar.gz": "tar", "zip": "zip"}[format]
	command := exec.CommandContext(ctx, "git", "--git-dir="+repo.git.path, "archive", "--format="+kind, "--prefix="+folder+"/", sha)
	command.Env = gitEnvironment()
	var out io.Writer = w
	if kind == "tar" {
		w.Header().Set("Content-Type", "application/x-gzip")
		packed := gzip.NewWriter(w)
		defer packed.Close()
		out = packed
	} else {
		w.Header().Set("Content-Type", "application/zip")
	}
	command.Stdout = out
	if err := command.Run(); err != nil {
		s.log.Warn("git archive", "repository", name, "error", err)
		panic(http.ErrAbortHandler) // a cut stream, so that nobody takes it for whole
	}
}
